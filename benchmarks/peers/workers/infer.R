# The worker for lmerTest and pbkrtest: from a fit of lme4 to the table. Messages as in worker.py; `load` fits too, and says
# what is asked (`verb`, `method`).

suppressPackageStartupMessages({
  library(jsonlite)
  library(lme4)
  library(lmerTest)
  library(pbkrtest)
})
source(file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "frames.R"))

# as tight as the search goes, so that answers can be compared
tight <- lmerControl(calc.derivs = FALSE, optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 1e5))

load_data <- function(message) {
  asked <<- message
  formula <<- as.formula(message$formula)
  data <<- read_data(message)
  fit <<- lme4::lmer(formula, data, control = tight)
  if (message$method == "kenward_roger") fit <<- as_lmerModLmerTest(fit)
  gc()
  versions <- lapply(c("lme4", "lmerTest", "pbkrtest"), function(name) as.character(packageVersion(name)))
  c(setNames(versions, c("lme4", "lmerTest", "pbkrtest")), list(R = as.character(getRversion())))
}

# Satterthwaite's method starts with what lmerTest adds to a fit of lme4
test <- function() {
  if (asked$method == "satterthwaite") {
    tested <- as_lmerModLmerTest(fit)
    return(if (asked$verb == "summary") coef(summary(tested)) else anova(tested, type = 3))
  }
  if (asked$verb == "summary") coef(summary(fit, ddf = "Kenward-Roger")) else anova(fit, type = 3, ddf = "Kenward-Roger")
}

processor <- function() sum(proc.time()[1:2])

tests <- function(message) {
  gc()
  seconds <- numeric(message$times)
  before <- processor()
  for (i in seq_len(message$times)) {
    start <- Sys.time()
    table <- test()
    seconds[i] <- as.numeric(difftime(Sys.time(), start, units = "secs"))
  }
  used <- processor() - before
  columns <- if (asked$verb == "summary") c("df", "t value") else c("DenDF", "F value")
  list(seconds = I(seconds), cpu = used / message$times, df = I(as.numeric(table[, columns[1]])),
       statistic = I(as.numeric(table[, columns[2]])))
}

answer <- function(message) {
  tryCatch(
    if (message$do == "load") list(ok = TRUE, versions = load_data(message)) else c(list(ok = TRUE), tests(message)),
    error = function(e) list(ok = FALSE, reason = conditionMessage(e))
  )
}

asked <- formula <- data <- fit <- NULL
input <- file("stdin", "r")
while (length(line <- readLines(input, 1))) {
  reply <- suppressWarnings(suppressMessages(answer(fromJSON(line, simplifyVector = FALSE))))
  cat(toJSON(reply, auto_unbox = TRUE, digits = NA, null = "null", na = "null"), "\n", sep = "")
  flush(stdout())
}
