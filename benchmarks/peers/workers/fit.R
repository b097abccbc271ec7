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

load_data <- function(message) {
  columns <- lapply(message$columns, read_column, message$folder, message$rows)
  names(columns) <- vapply(message$columns, function(column) column$name, "")
  data <<- as.data.frame(columns, stringsAsFactors = FALSE)
  formula <<- as.formula(message$formula)
  versions <- list(as.character(packageVersion(package)), as.character(getRversion()))
  list(versions = setNames(versions, c(package, "R")))
}

fit_once <- function(reml) {
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

fits <- function(message) {
  gc()
  seconds <- numeric(message$times)
  for (i in seq_len(message$times)) {
    fitted <- NULL
    start <- Sys.time()
    fitted <- fit_once(message$reml)
    seconds[i] <- as.numeric(difftime(Sys.time(), start, units = "secs"))
  }
  c(list(seconds = I(seconds)), facts(fitted))
}

answer <- function(message) {
  tryCatch(
    c(list(ok = TRUE), if (message$do == "load") load_data(message) else fits(message)),
    error = function(e) list(ok = FALSE, reason = conditionMessage(e))
  )
}

data <- NULL
formula <- NULL
input <- file("stdin", "r")
while (length(line <- readLines(input, 1))) {
  reply <- suppressWarnings(suppressMessages(answer(fromJSON(line, simplifyVector = FALSE))))
  cat(toJSON(reply, auto_unbox = TRUE, digits = NA, null = "null", na = "null"), "\n", sep = "")
  flush(stdout())
}
