# The worker for lme4 and glmmTMB: the package's name is the argument; messages as in worker.py.

package <- commandArgs(trailingOnly = TRUE)[1]
suppressPackageStartupMessages({
  library(jsonlite)
  library(package, character.only = TRUE)
})

source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "frames.R"))

load_data <- function(message) {
  request <<- message
  formula <<- as.formula(message$formula)
  data <<- if (message$task == "stream") NULL else read_data(message)
  likelihood <<- message$likelihood
  if (!is.null(likelihood)) prepare_generalized()
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

# Quadrature's log-likelihood leaves out that of the saturated model in lme4.
prepare_generalized <- function() {
  distribution <<- switch(likelihood$family,
    binomial = binomial(likelihood$link), poisson = poisson(likelihood$link), gamma = Gamma(likelihood$link),
    negative_binomial = nbinom2(likelihood$link)
  )
  nodes <<- if (likelihood$method == "pirls_profiled") 0L else likelihood$n_agq
  y <- data[[request$response]]
  data$prior_weights <<- if (nzchar(likelihood$trials)) data[[likelihood$trials]] else rep(1, length(y))
  successes <- round(y * data$prior_weights)
  left_out <<- if (nodes > 1) sum(dbinom(successes, data$prior_weights, y, log = TRUE)) else 0
}

fit_generalized <- function() {
  trials <- nzchar(likelihood$trials)
  if (package == "glmmTMB") {
    if (trials) glmmTMB(formula, data, distribution, weights = prior_weights) else glmmTMB(formula, data, distribution)
  } else if (trials) {
    glmer(formula, data, distribution, nAGQ = nodes, weights = prior_weights)
  } else {
    glmer(formula, data, distribution, nAGQ = nodes)
  }
}

fit_once <- function(reml) {
  if (!is.null(likelihood)) return(fit_generalized())
  if (request$task == "stream") {
    data <<- NULL
    data <<- read_data(request)
  }
  if (package == "lme4") lmer(formula, data, REML = reml) else glmmTMB(formula, data, REML = reml)
}

facts <- function(fitted) {
  if (package == "lme4") {
    info <- fitted@optinfo
    return(list(loglik = as.numeric(logLik(fitted)) + left_out, evaluations = info$feval, converged = info$conv$opt == 0))
  }
  fit <- fitted$fit
  list(loglik = -fit$objective, evaluations = fit$evaluations[["function"]], converged = fit$convergence == 0)
}

since <- function(start) as.numeric(difftime(Sys.time(), start, units = "secs"))
processor <- function() sum(proc.time()[1:2])

measure_fit <- function(reml) {
  start <- Sys.time()
  before <- processor()
  fitted <- fit_once(reml)
  c(list(seconds = since(start), cpu = processor() - before), facts(fitted))
}

measure_refits <- function(reml) {
  if (is.null(base)) base <<- fit_once(reml)
  total <- list(seconds = 0, cpu = 0, loglik = 0, evaluations = 0, converged = TRUE)
  for (y in responses) {
    start <- Sys.time()
    before <- processor()
    fitted <- refit(base, y)
    total$cpu <- total$cpu + processor() - before
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
  seconds <- cpu <- numeric(message$times)
  for (i in seq_len(message$times)) {
    found <- measure(message$reml)
    seconds[i] <- found$seconds
    cpu[i] <- found$cpu
  }
  found$cpu <- mean(cpu)
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
likelihood <- NULL
distribution <- NULL
nodes <- NULL
left_out <- 0
input <- file("stdin", "r")
while (length(line <- readLines(input, 1))) {
  reply <- suppressWarnings(suppressMessages(answer(fromJSON(line, simplifyVector = FALSE))))
  cat(toJSON(reply, auto_unbox = TRUE, digits = NA, null = "null", na = "null"), "\n", sep = "")
  flush(stdout())
}
