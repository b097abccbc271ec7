# The worker for lme4 and glmmTMB: the package's name is the argument; messages as in worker.py.

package <- commandArgs(trailingOnly = TRUE)[1]
suppressPackageStartupMessages({
  library(jsonlite)
  library(package, character.only = TRUE)
})

read_column <- function(column, folder, rows) {
  path <- file.path(folder, column$name)
  if (column$kind == "number") {
    return(readBin(paste0(path, ".float64"), "double", rows))
  }
  levels <- readLines(paste0(path, ".levels"), encoding = "UTF-8")
  codes <- readBin(paste0(path, ".int32"), "integer", rows) + 1L
  if (column$kind == "factor") structure(codes, levels = levels, class = "factor") else levels[codes]
}

read_data <- function(message) {
  columns <- lapply(message$columns, read_column, message$folder, message$rows)
  names(columns) <- vapply(message$columns, function(column) column$name, "")
  as.data.frame(columns, stringsAsFactors = FALSE)
}

load_data <- function(message) {
  request <<- message
  formula <<- as.formula(message$formula)
  data <<- if (message$task == "stream") NULL else read_data(message)
  if (message$task == "refit") {
    if (package != "lme4") stop("is measured without refits")
    numbers <- readBin(message$responses$path, "double", message$rows * message$responses$times)
    responses <<- split(numbers, rep(seq_len(message$responses$times), each = message$rows))
    base <<- NULL
  }
  gc()
  versions <- list(as.character(packageVersion(package)), as.character(getRversion()))
  list(versions = setNames(versions, c(package, "R")))
}

fit_once <- function(reml) {
  if (request$task == "stream") {
    data <<- NULL
    data <<- read_data(request)
  }
  if (package == "lme4") lmer(formula, data, REML = reml) else glmmTMB(formula, data, REML = reml)
}

facts <- function(fitted) {
  if (package == "lme4") {
    info <- fitted@optinfo
    return(list(loglik = as.numeric(logLik(fitted)), evaluations = info$feval, converged = info$conv$opt == 0))
  }
  fit <- fitted$fit
  list(loglik = -fit$objective, evaluations = fit$evaluations[["function"]], converged = fit$convergence == 0)
}

since <- function(start) as.numeric(difftime(Sys.time(), start, units = "secs"))

measure_fit <- function(reml) {
  start <- Sys.time()
  fitted <- fit_once(reml)
  c(list(seconds = since(start)), facts(fitted))
}

measure_refits <- function(reml) {
  if (is.null(base)) base <<- fit_once(reml)
  total <- list(seconds = 0, loglik = 0, evaluations = 0, converged = TRUE)
  for (y in responses) {
    start <- Sys.time()
    fitted <- refit(base, y)
    total$seconds <- total$seconds + since(start)
    found <- facts(fitted)
    total$loglik <- total$loglik + found$loglik
    total$evaluations <- total$evaluations + found$evaluations
    total$converged <- total$converged && found$converged
  }
  total$loglik <- total$loglik / length(responses)
  total
}

fits <- function(message) {
  gc()
  measure <- if (request$task == "refit") measure_refits else measure_fit
  seconds <- numeric(message$times)
  for (i in seq_len(message$times)) {
    found <- measure(message$reml)
    seconds[i] <- found$seconds
  }
  found$seconds <- I(seconds)
  found
}

answer <- function(message) {
  tryCatch(
    c(list(ok = TRUE), if (message$do == "load") load_data(message) else fits(message)),
    error = function(e) list(ok = FALSE, reason = conditionMessage(e))
  )
}

data <- NULL
formula <- NULL
request <- NULL
responses <- NULL
base <- NULL
input <- file("stdin", "r")
while (length(line <- readLines(input, 1))) {
  reply <- suppressWarnings(suppressMessages(answer(fromJSON(line, simplifyVector = FALSE))))
  cat(toJSON(reply, auto_unbox = TRUE, digits = NA, null = "null", na = "null"), "\n", sep = "")
  flush(stdout())
}
