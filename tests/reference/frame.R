# Reference answers of R for what a model frame learns from data: transforms on new data, polynomial contrasts, labels.
#   Rscript tests/reference/frame.R tests/reference/frame.json
#
# The training data is tests/reference/data/formula.csv, written by formula.R.
suppressMessages({
  library(jsonlite)
  library(splines)
})
output <- commandArgs(trailingOnly = TRUE)[1]
data_folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "data")
frame <- read.csv(file.path(data_folder, "formula.csv"), check.names = FALSE)

num <- function(x) structure(paste0("[", paste(sprintf("%.15g", as.double(x)), collapse = ","), "]"), class = "json")
rows <- function(m) structure(paste0("[", paste(apply(m, 1, num), collapse = ","), "]"), class = "json")

# Beyond the range of the data on both sides, and at its ends.
new <- data.frame(x = c(-1, min(frame$x), 1.25, 2.5, max(frame$x), 7), z = c(-4, min(frame$z), 0, 0.5, max(frame$z), 5))
transforms <- c(
  "poly(x, 3)", "poly(z, 2):x", "poly(log(x + 2), 2)", "scale(x)", "scale(z, center = FALSE)", "scale(x, scale = FALSE)",
  "scale(x, center = 2, scale = 3)", "log(x + 2, 3)", "bs(x)", "bs(x, df = 5)", "bs(x, knots = c(3, 1.5))",
  "bs(x, df = 5, degree = 2, intercept = TRUE)", "bs(x, knots = 2, Boundary.knots = c(-2, 8))",
  "bs(x, df = 4, Boundary.knots = c(-2, 8))", "ns(x)", "ns(x, 3)", "ns(x, df = 4)", "ns(x, knots = c(1, 2, 4))",
  "ns(x, df = 3, intercept = TRUE)", "ns(x, df = 3, Boundary.knots = c(0.5, 4.5))", "ns(z, 2) * x"
)
cases <- lapply(transforms, function(rhs) {
  fit <- suppressWarnings(lm(as.formula(paste("y ~", rhs)), frame))
  tt <- delete.response(terms(fit))
  read_new <- suppressWarnings(model.matrix(tt, model.frame(tt, new)))
  list(formula = unbox(paste("y ~", rhs)), columns = colnames(model.matrix(fit)), matrix = rows(model.matrix(fit)),
       new = rows(read_new))
})
numbers <- c(0, 1, 10, 100, 1.5, -0.5, 1e5, 123456, 100000.1, 1234567.1, 123456789012, 1e15, 2^53, 1e16, 1e22, 1e-4,
             3e-4, 1e-5, 0.1 + 0.2, 1 / 3, 2 / 3 * 1e6, -1e300, 1e-300, 33.3)
answer <- list(
  versions = list(R = unbox(as.character(getRversion()))),
  new = lapply(new, num), cases = cases, contr_poly = lapply(2:12, function(q) rows(contr.poly(q))),
  numbers = lapply(numbers, function(x) list(value = structure(sprintf("%.17g", x), class = "json"),
                                             label = unbox(as.character(x))))
)
writeLines(toJSON(answer, json_verbatim = TRUE), output)
cat(length(cases), "transforms\n")
