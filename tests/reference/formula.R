# Reference answers of R's formula algebra: terms(), model.matrix() and deparse().
#   Rscript tests/reference/formula.R tests/reference/formula.json
#
# The data frame is tests/reference/data/formula.csv, written here when missing. Factors have treatment contrasts
# unless a case names others.
suppressMessages({
  library(jsonlite)
  library(splines)
})
invisible(Sys.setlocale("LC_COLLATE", "C"))
options(contrasts = c("contr.treatment", "contr.treatment"))

output <- commandArgs(trailingOnly = TRUE)[1]
data_folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "data")
csv <- file.path(data_folder, "formula.csv")
if (!file.exists(csv)) {
  set.seed(7)
  grid <- expand.grid(a = c("a1", "a2"), b = c("b1", "b2", "b3"), c = c("c1", "c2"), copy = 1:2,
                      stringsAsFactors = FALSE)
  n <- nrow(grid)
  frame <- data.frame(y = round(rnorm(n), 3), a = grid$a, b = grid$b, c = grid$c,
                      o = rep(c("o1", "o2", "o3", "o4"), n / 4), x = round(runif(n, 0, 5), 3), z = round(rnorm(n), 3),
                      k = rep_len(c(10, 2, 1), n)[sample(n)],
                      l = ifelse(runif(n) < 0.5, "true", "false"), `my col` = round(runif(n, 1, 9), 2),
                      `a group` = sample(c("u", "v"), n, replace = TRUE), check.names = FALSE)
  write.csv(frame[sample(n), ], csv, row.names = FALSE, quote = FALSE)
}
frame <- read.csv(csv, check.names = FALSE)
frame[] <- lapply(frame, function(column) {
  if (!is.character(column)) column
  else if (all(column %in% c("true", "false"))) column == "true"
  else factor(column)
})

algebra <- c(
  # numeric and intercept
  "1", "0", "-1", "x", "x + z", "z + x", "0 + x", "x - 1", "-1 + x", "x + 0", "x - 0", "0 + x + 1", "1 + x",
  "x + 1 - 1", "x + x", "x - x", "x + z - x", "x * z", "x:z", "z:x", "x + z + x:z", "x:z + x + z", "x * z - x", "x:x",
  "x * x", "x^2", "(x + z)^2", "(x + z)^3", "x / z", "x + (z + x)", "(x)", "((x)) + (z)", "x %in% z",
  "x + z + z:x + x:z",
  # one factor
  "a", "b", "0 + a", "-1 + a", "a - 1", "a + 0", "a - 0", "a + 0 - 0", "a - a", "a - a - 1", "b - 1 + 1",
  # two factors
  "a + b", "b + a", "0 + a + b", "0 + b + a", "a:b", "b:a", "0 + a:b", "a:b - 1", "a * b", "b * a", "a * b - a",
  "a * b - b", "a * b - 1", "0 + a * b", "a * b - a - b", "a + a:b", "b + a:b", "0 + a + a:b", "0 + b + a:b",
  "0 + a:b + a", "a / b", "b / a", "a / b - 1", "a / b - a", "0 + a / b", "a %in% b", "b %in% a", "a + b %in% a",
  "a + a %in% b", "0 + a %in% b", "a:b + a + b", "a:b + b", "a + b + a:b + b:a", "(a + b)^2", "(a + b)^2 - a:b",
  "a * b - a:b", "a:a", "a * a", "a^2",
  # factor and numeric
  "x + a", "a + x", "a * x", "x * a", "x:a", "a:x", "x:a - 1", "0 + x:a", "0 + x + a:x", "a + a:x", "a:x + x",
  "x + x:a", "0 + a + a:x", "a / x", "0 + a / x", "x / a", "x / a - 1", "a * x - x", "a * x - a", "a * x - 1",
  "a + b:x", "a:b:x", "a * b:x", "(a + x)^2", "(a + b + x)^2", "x * a * b", "a * b * x - a:b:x", "x:z:a", "x * z * a",
  "a:b + a:x", "0 + a:b + x:a", "a %in% x", "b + x %in% b", "0 + b:x + a", "x:b + x:a", "x:z + a:x:z",
  # three factors
  "a + b + c", "a * b * c", "a:b:c", "0 + a:b:c", "a + b:c", "0 + a + b:c", "a:b + c", "a:b + b:c", "a:b + a:c + b:c",
  "a + b + c + a:b:c", "a + a:b:c", "a:b + a:b:c", "(a + b + c)^2", "(a + b + c)^2 - a:b", "(a + b + c)^3",
  "(a + b + c)^2 - 1", "(a + b + c)^3 - a:b:c", "a * b + c", "a + b * c", "a:b * c", "a * b:c", "a / b / c",
  "a / (b + c)", "a / (b * c)", "(a + b) / c", "(a * b) / c", "(a + b):c", "(a + b):(a + c)", "(a + b) * c",
  "(a + b) * (b + c)", "(a + b) %in% c", "c %in% (a + b)", "a:b %in% c", "a %in% b %in% c", "a * b * c - a:b",
  "a * b * c - a", "a * b * c - 1", "a * b * c - a:b:c", "0 + a * b * c", "c * b * a", "c + b + a + a:b",
  "(a + b + c)^2 - (a + b)^2", "(a + b + c) - (a + b)", "a + b + c - b - c", "a - (b + a)", "(a:b + c)^2",
  "(a + b + x)^2 - a:x - 1", "a + (b + c) - (c)", "a - b:a", "a * b - b:a", "c + a * b - c", "a / b + c", "c + a / b",
  "a / b:c", "a:b / c", "-a", "-a + b", "-1 - a + b", "a + -1", "a + -b + b",
  # logical
  "l", "0 + l", "l * x", "l + a", "l:a", "0 + l:x", "a / l", "l:x",
  # calls
  "log(x + 1)", "I(x^2)", "x + I(x^2)", "I(x + z)", "I(x*z):a", "I(x/2) + I(-z)", "sqrt(x) * a", "poly(x, 2)",
  "poly(x, 2) * a", "a + poly(x, 3)", "poly(x, degree = 2)", "poly(x, 2, raw = TRUE)", "poly(x, 2):poly(z, 2)",
  "0 + a + a:poly(x, 2)", "poly(x, 1)", "scale(x)", "bs(x, df = 4)", "a * bs(x, df = 4)", "bs(x, df = 5, degree = 2)",
  "bs(x, knots = c(1, 2.5))", "bs(x, df = 4, intercept = TRUE) - 1", "scale(x) * a",
  "scale(x, center = TRUE, scale = FALSE)", "scale(x, scale = FALSE)", "exp(z)",
  "log2(x + 1) + log10(x + 1) + log1p(x)", "sin(x) + cos(x)", "abs(z)", "expm1(z)", "tan(z / 4)", "factor(k)",
  "a * factor(k)", "0 + factor(k)", "factor(k) + k", "as.factor(k)", "factor(b) + b", "factor(l)", "log(x + 1):a + z",
  "I(x^2) + I(x ^ 2)", "I( x*2 )", "I((x + z)^2)", "I(x %% 2)", "I(x %/% 2)", "I(2 * x + 1)", "I(-x)", "I(x - z)",
  "log(exp(z))", "I(1/(x + 1))",
  # offset
  "a + offset(x)", "offset(x)", "offset(x) + a", "a + offset(x) + z", "a * b + offset(log(x + 1))",
  "offset(x) + offset(z)", "0 + offset(z) + a", "a - offset(x)", "x + offset(x)", "a:b + offset(z) + a",
  # backticks and layout
  "`a`", "`x` + `a`:b", "a+b  +   a : b", "a*b*a", "x+a*b-1", "`my col`", "`my col` * `a group`",
  "log(`my col`) + `a group`:b", "I(`my col`^2)", "0 + `a group`", "poly(`my col`, 2)"
)

contrasted <- list(
  list("a", list(a = "sum")), list("b", list(b = "sum")), list("b", list(b = "helmert")), list("o", list(o = "poly")),
  list("o", list(o = "helmert")), list("a * b", list(a = "sum", b = "sum")), list("a * b", list(b = "helmert")),
  list("a * o", list(o = "poly")), list("a * o", list(a = "sum", o = "poly")), list("0 + o", list(o = "poly")),
  list("0 + a + o", list(o = "poly")), list("a:o", list(o = "poly")), list("a + a:o", list(o = "poly")),
  list("o + a:o", list(o = "poly", a = "helmert")), list("x * o", list(o = "poly")), list("x:o", list(o = "poly")),
  list("a / b", list(a = "sum", b = "helmert")), list("a * b * c", list(a = "sum", b = "helmert", c = "treatment")),
  list("l * x", list(l = "sum")), list("0 + a:b", list(a = "sum", b = "sum")), list("b:x + a", list(b = "sum")),
  list("factor(k)", list(`factor(k)` = "sum")),
  list("poly(x, 2) * b", list(b = "poly")), list("b %in% a", list(b = "sum"))
)

# Expressions that stand as one variable, written carelessly; R names the variable by its deparsed text.
calls <- c(
  "log(x)", "log( x )", "log(x+1)", "log((x+1))", "log(x,base=2)", "I(x^2)", "I(x ^ 2)", "I( x**2 )", "I(x*z)",
  "I(x/z)", "I(x+z)", "I(x-z)", "I(-x)", "I(- x)", "I(+x)", "I(--x)", "I(-(x))", "I((x+z)*2)", "I(x+z*2)", "I((x))",
  "I(x%%2)", "I(x %/% 2)", "I(x^-1)", "I(-x^2)", "I((-x)^2)", "I(2^x^z)", "I((2^x)^z)", "I(x-(z-1))", "I(x/(z/2))",
  "poly(x,2)", "poly(x,degree=2)", "poly(x, 2,raw=TRUE)", "poly( x , 2 , raw = T )", "bs(x,df=4)",
  "bs(x,knots=c(1,2,3))", "bs(x, degree=3L)", "scale(x,center=FALSE)", "factor(g)", "sqrt(abs(x))", "exp(log(x)+1)",
  "log(`my col`)", "`my col`", "I(`my col`^2)", "log(x.1)", "I(x_1+1)", "`x`", "log(`x`)", "I(1e3*x)", "I(1e5*x)",
  "I(100000*x)", "I(123456*x)", "I(1000000*x)", "I(0.1*x)", "I(1.50*x)", "I(1e-5*x)", "I(0.0001*x)", "I(0.00001*x)",
  "I(.5*x)", "I(2.*x)", "I(1E-3*x)", "I(3L*x)", "I(0x10*x)", "I(1.23456789012345678*x)", "I(1e15*x)", "I(1e16*x)",
  "I(123456789.123*x)", "cr(x,df=5)", "center(x)", "ns(x,df=3)", "bs(x,df=4,intercept=TRUE)", "log(x+z,base='e')",
  "bs(x, method = \"a b\")", "I(x%in%z)", "I(x:z)", "cbind(a,b)", "cbind( a, b-a )", "offset(log(x))", "`log`",
  "log(log)", "`if`", "`TRUE`", "`a b`:`c`", "`1x`", "`.2a`", "`_x`", "`a-b`", "`x.y`", ".x", "I(x+ (z*(2)))",
  "I(-(-x))", "I(x - -z)", "I(x*-1)", "I(x^(1/2))", "I(x^1/2)", "I(!l)", "log(x) ", "log1p(x)"
)

num <- function(x) {
  text <- ifelse(is.finite(x), sprintf("%.15g", as.double(x)), "null")
  structure(paste0("[", paste(text, collapse = ","), "]"), class = "json")
}
rows <- function(m) {
  structure(paste0("[", paste(apply(m, 1, num), collapse = ","), "]"), class = "json")
}

describe <- function(rhs, contrasts = NULL) {
  formula <- as.formula(paste("y ~", rhs))
  tt <- terms(formula)
  mf <- model.frame(formula, frame)
  X <- suppressWarnings(model.matrix(formula, mf,
    contrasts.arg = if (!is.null(contrasts)) lapply(contrasts, function(each) paste0("contr.", each))))
  offsets <- attr(tt, "offset")
  list(
    formula = unbox(paste("y ~", rhs)), contrasts = lapply(contrasts, unbox),
    intercept = unbox(attr(tt, "intercept") == 1),
    terms = I(attr(tt, "term.labels")), order = I(attr(tt, "order")),
    offsets = I(if (is.null(offsets)) character()
                else vapply(as.list(attr(tt, "variables"))[-1][offsets], deparse1, "")),
    columns = I(if (ncol(X)) colnames(X) else character()), assign = I(attr(X, "assign")),
    matrix = if (ncol(X)) rows(X) else structure("[]", class = "json")
  )
}

cases <- c(lapply(algebra, describe), lapply(contrasted, function(case) describe(case[[1]], case[[2]])))
cases <- vapply(cases, function(case) toJSON(case, json_verbatim = TRUE, null = "null"), "")
deparsed <- vapply(calls, function(text) {
  toJSON(list(text = unbox(text), deparse = unbox(deparse1(str2lang(text), backtick = TRUE))))
}, "")
versions <- toJSON(list(R = unbox(as.character(getRversion()))))
writeLines(c(paste0("{\"versions\": ", versions, ","), "\"cases\": [", paste(cases, collapse = ",\n"), "],",
             "\"deparse\": [", paste(deparsed, collapse = ",\n"), "]}"), output)
cat(length(cases), "formulas,", length(deparsed), "deparsed calls\n")
