# Reference fits of Gaussian mixed models with lme4 at tight tolerances.
#   Rscript tests/reference/lmm.R tests/reference/lmm.json
#
# Every model is fitted from lme4's start by several optimizers, again from the best of them, and polished by Newton
# steps on finite differences of lme4's own deviance function; the lowest objective is kept. Treatment contrasts are
# used for every factor, ordered ones too, unless the model names others. Generated data are read back from the CSV
# files in tests/reference/data, which this script writes when they are missing.
#
# Terms, theta, varcorr and ranef are in lme4's order: terms by falling number of levels, and `written` says which bar
# of `r_formula` each is. varcorr and ranef are as.data.frame() of VarCorr() and ranef(); ranef() merges the terms of
# one grouping factor and runs over the levels within each column. `complete` is false where only the first 50 rows of
# each grouping factor (or the first 50 fitted values) are kept, beside sums over all. `optimizers` has the objective
# each optimizer reached, `default_control` that of lmer() with its default tolerances.
suppressMessages({
  library(lme4)
  library(jsonlite)
})
invisible(Sys.setlocale("LC_COLLATE", "C"))
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)

arguments <- commandArgs(trailingOnly = TRUE)
output <- arguments[1]
only <- arguments[-1]
data_folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "data")

# ---- generated data ------------------------------------------------------------------------------------------------

write_data <- function(name, frame) {
  path <- file.path(data_folder, paste0(name, ".csv"))
  if (file.exists(path)) return(invisible())
  frame[] <- lapply(frame, function(column) {
    if (is.logical(column)) tolower(as.character(column))
    else if (is.double(column)) round(column, 5)
    else as.character(column)
  })
  write.csv(frame, path, row.names = FALSE, quote = FALSE)
}

read_data <- function(name) {
  frame <- read.csv(file.path(data_folder, paste0(name, ".csv")), colClasses = NA, stringsAsFactors = FALSE)
  frame[] <- lapply(frame, function(column) {
    if (!is.character(column)) column
    else if (all(column %in% c("true", "false"))) column == "true"
    else factor(column)
  })
  frame
}

make_perfect_slope <- function() {
  set.seed(8)
  g <- rep(sprintf("g%02d", 1:20), each = 8)
  x <- rep(seq(0, 3.5, by = 0.5), 20)
  b <- rep(rnorm(20, sd = 2), each = 8)
  data.frame(y = 5 + 2 * x + b * (1 + 0.6 * x) + rnorm(160), x = x, g = g)
}

make_zero_slope <- function() {
  set.seed(8)
  g <- rep(sprintf("g%02d", 1:15), each = 8)
  x <- rep(-3.5:3.5, 15)
  data.frame(y = 1 + 0.5 * x + rep(rnorm(15, sd = 1.5), each = 8) + rnorm(120), x = x, g = g)
}

make_levels <- function() {
  set.seed(3)
  n <- 300
  school <- rep(c("B", "a", "C", "d", "E", "f", "G", "h", "I", "k"), each = 30)
  class <- rep(rep(c("p", "Q", "r"), each = 10), 10)
  pupil <- rep(rep(1:5, each = 2), 30)
  rater <- sample(sprintf("r%d", 1:7), n, replace = TRUE)
  f <- sample(c("lo", "mid", "up"), n, replace = TRUE)
  x <- rnorm(n)
  pick <- function(key, sd) setNames(rnorm(length(unique(key)), sd = sd), unique(key))[key]
  sc <- paste(school, class)
  y <- 10 + 1.5 * x + pick(school, 2) + pick(school, 0.8) * x + pick(sc, 1.2) + 0.7 * pick(sc, 0.8) * x +
    pick(paste(sc, pupil), 1) + pick(rater, 1) + pick(paste(rater, f), 0.8) + 0.5 * (f == "up") + rnorm(n)
  data.frame(y = unname(y), x = x, f = f, school = school, class = class, pupil = pupil, rater = rater)
}

make_factorial <- function() {
  set.seed(17)
  n <- 360
  g <- sample(1:18, n, replace = TRUE)
  h <- sample(sprintf("h%02d", 1:12), n, replace = TRUE)
  a <- sample(c("a1", "a2", "a3"), n, replace = TRUE)
  b <- sample(c("b1", "b2", "b3", "b4"), n, replace = TRUE)
  b[a == "a3" & b == "b4"] <- "b2"
  x <- round(rnorm(n), 3)
  z <- round(runif(n, 1, 4), 3)
  flag <- runif(n) < 0.4
  year <- sample(1990:2019, n, replace = TRUE)
  w <- round(runif(n, 0.3, 3), 2)
  o <- round(rnorm(n, 2), 3)
  bg <- matrix(rnorm(18 * 3), 18) %*% diag(c(1.5, 0.8, 0.6))
  bh <- matrix(rnorm(12 * 3), 12) %*% diag(c(1, 0.7, 0.9))
  hh <- as.integer(factor(h))
  gh <- rnorm(18 * 12, sd = 0.8)[(g - 1) * 12 + hh]
  y <- 3 + x - 0.5 * z + 0.7 * (a == "a2") - 0.4 * (b == "b3") + 0.3 * flag + 0.05 * (year - 2000) + bg[g, 1] +
    bg[g, 2] * x + bg[g, 3] * (a == "a2") + bh[hh, 1] + bh[hh, 2] * z + 0.04 * bh[hh, 3] * (year - 2000) + gh +
    rnorm(n) / sqrt(w)
  data.frame(y = y, x = x, z = z, x2 = 2 * x - 1, a = a, b = b, flag = flag, year = year, w = w, o = o, g = g, h = h)
}

dir.create(data_folder, showWarnings = FALSE)
write_data("perfect_slope", make_perfect_slope())
write_data("zero_slope", make_zero_slope())
write_data("levels", make_levels())
write_data("factorial", make_factorial())

# ---- models --------------------------------------------------------------------------------------------------------

models <- list()
# `formula` is what the Python tests fit; `r` is the same model for lme4 where the two grammars differ in what they
# accept or in how they name groups. `unique = FALSE` marks models whose covariances are over-parametrized: the
# likelihood fixes fitted values, beta and sigma, but not theta or the random effects. `centre` names a column whose
# centring makes the optimization well conditioned: the optimum found there is carried back.
add <- function(id, dataset, formula, REML = TRUE, r = formula, weights = NULL, offset = NULL, subset = NULL,
                contrasts = NULL, derive = NULL, note = NULL, unique = TRUE, centre = NULL) {
  stopifnot(is.null(models[[id]]))
  models[[id]] <<- list(id = id, dataset = dataset, formula = formula, r = r, REML = REML, weights = weights,
                        offset = offset, subset = subset, contrasts = contrasts, derive = derive, note = note,
                        unique = unique, centre = centre)
}

add("sleepstudy_reml", "sleepstudy", "Reaction ~ Days + (Days | Subject)")
add("sleepstudy_ml", "sleepstudy", "Reaction ~ Days + (Days | Subject)", REML = FALSE)
add("sleepstudy_double_bar", "sleepstudy", "Reaction ~ Days + (Days || Subject)")
add("sleepstudy_double_bar_ml", "sleepstudy", "Reaction ~ Days + (Days || Subject)", REML = FALSE)
add("sleepstudy_intercept_ml", "sleepstudy", "Reaction ~ Days + (1 | Subject)", REML = FALSE)
add("sleepstudy_slope_only", "sleepstudy", "Reaction ~ Days + (0 + Days | Subject)")
add("sleepstudy_two_terms_ml", "sleepstudy", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", REML = FALSE)
add("sleepstudy_subset", "sleepstudy", "Reaction ~ Days + (Days | Subject)",
    subset = list(column = "Days", op = "ge", value = 2))
add("sleepstudy_poly", "sleepstudy", "Reaction ~ poly(Days, 2) + (Days | Subject)")
add("sleepstudy_square_ml", "sleepstudy", "Reaction ~ Days + I(Days^2) + (Days | Subject)", REML = FALSE)
add("sleepstudy_logs", "sleepstudy", "log(Reaction) ~ log(Days + 1) + (1 | Subject)")
add("sleepstudy_scale", "sleepstudy", "Reaction ~ scale(Days) + (scale(Days) | Subject)")
add("sleepstudy_factor_days", "sleepstudy", "Reaction ~ factor(Days) + (1 | Subject)")
add("sleepstudy_three_columns", "sleepstudy", "Reaction ~ Days + I(Days^2) + (Days + I(Days^2) | Subject)")
add("sleepstudy_mean_only", "sleepstudy", "Reaction ~ 1 + (Days | Subject)")

add("dyestuff_reml", "Dyestuff", "Yield ~ 1 + (1 | Batch)")
add("dyestuff_ml", "Dyestuff", "Yield ~ 1 + (1 | Batch)", REML = FALSE)
add("dyestuff2_reml", "Dyestuff2", "Yield ~ 1 + (1 | Batch)", note = "zero variance")
add("dyestuff2_ml", "Dyestuff2", "Yield ~ 1 + (1 | Batch)", REML = FALSE, note = "zero variance")

add("penicillin_reml", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)")
add("penicillin_ml", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", REML = FALSE)
add("penicillin_fixed_sample", "Penicillin", "diameter ~ 0 + sample + (1 | plate)")

add("pastes_nested", "Pastes", "strength ~ 1 + (1 | batch/cask)", r = "strength ~ 1 + (1 | batch) + (1 | batch:cask)")
add("pastes_sample_ml", "Pastes", "strength ~ 1 + (1 | batch) + (1 | sample)", REML = FALSE)
add("pastes_cell", "Pastes", "strength ~ 1 + (1 | batch:cask)")
add("pastes_cask_fixed_ml", "Pastes", "strength ~ cask + (1 | batch) + (1 | batch:cask)", REML = FALSE)

cell <- " + (1 | recipe:replicate)"
add("cake_poly_ml", "cake", paste0("angle ~ recipe * temperature", cell), REML = FALSE,
    contrasts = list(temperature = "poly"))
add("cake_treatment", "cake", paste0("angle ~ recipe * temperature", cell))
add("cake_sum", "cake", paste0("angle ~ recipe * temperature", cell),
    contrasts = list(recipe = "sum", temperature = "sum"))
add("cake_helmert_ml", "cake", paste0("angle ~ recipe + temperature", cell), REML = FALSE,
    contrasts = list(recipe = "helmert", temperature = "helmert"))
add("cake_mixed_contrasts", "cake", paste0("angle ~ recipe * temperature", cell),
    contrasts = list(recipe = "helmert", temperature = "poly"))
add("cake_factor_by_number", "cake", paste0("angle ~ recipe * temp", cell))
add("cake_aliased", "cake", paste0("angle ~ recipe + temp + temperature", cell),
    note = "the last level of temperature is aliased with temp")
add("cake_no_intercept_ml", "cake", paste0("angle ~ 0 + recipe + temp", cell), REML = FALSE)
add("cake_nested_slopes", "cake", paste0("angle ~ recipe / temp", cell))
add("cake_interaction_only", "cake", paste0("angle ~ recipe:temp", cell))
add("cake_factor_slopes_full", "cake", "angle ~ recipe + temp + (0 + recipe | replicate)")
add("cake_factor_slopes", "cake", "angle ~ recipe + temp + (recipe | replicate)")
add("cake_factor_double_bar", "cake", "angle ~ recipe + temp + (recipe || replicate)",
    unique = FALSE, note = "the factor's indicators stay together in one term beside the intercept")
add("cake_split_plot", "cake", "angle ~ recipe + temperature + (1 | replicate) + (1 | recipe:replicate)",
    contrasts = list(temperature = "poly"))

add("insteval_crossed", "InstEval", "y ~ service + (1 | s) + (1 | d) + (1 | dept)")
add("insteval_ordered_ml", "InstEval", "y ~ service + lectage + studage + (1 | s) + (1 | d)", REML = FALSE,
    contrasts = list(lectage = "poly", studage = "poly"))
add("insteval_interaction", "InstEval", "y ~ service * dept + (1 | s) + (1 | d)")
add("insteval_vector_ml", "InstEval", "y ~ service + studage + (1 | s) + (service | d) + (1 | dept:service)",
    REML = FALSE, note = "crossed scalar, vector and cell terms")

add("cbpp_weights", "cbpp", "prop ~ period + (1 | herd)", weights = "size",
    derive = list(prop = list(op = "div", a = "incidence", b = "size")))
add("cbpp_weights_ml", "cbpp", "incidence ~ period + (1 | herd)", REML = FALSE, weights = "size")
add("cbpp_count", "cbpp", "incidence ~ size + period + (1 | herd)")

r2_num <- list(r2_num = list(op = "eq", column = "r2", value = "Y"))
add("verbagg_crossed", "VerbAgg", "r2_num ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", derive = r2_num)
add("verbagg_crossed_vectors_ml", "VerbAgg",
    "r2_num ~ (Anger + Gender + btype + situ)^2 + (mode | id) + (Gender | item)",
    REML = FALSE, derive = r2_num)
add("verbagg_several_terms", "VerbAgg", "r2_num ~ Anger + mode * situ + (1 | id) + (0 + situ | id) + (1 | item)",
    derive = r2_num, unique = FALSE, note = "intercept and all indicators of a factor on one grouping")

add("grouseticks_nested", "grouseticks", "log(TICKS + 1) ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)")
add("grouseticks_nested_ml", "grouseticks", "TICKS ~ YEAR * cHEIGHT + (1 | LOCATION/BROOD)", REML = FALSE,
    r = "TICKS ~ YEAR * cHEIGHT + (1 | LOCATION) + (1 | LOCATION:BROOD)")
add("grouseticks_year_location", "grouseticks",
    "log(TICKS + 1) ~ 0 + YEAR + HEIGHT + (1 | YEAR:LOCATION) + (1 | BROOD)")

fruits <- "log(total.fruits + 1) ~ "
add("arabidopsis_crossed", "Arabidopsis",
    paste0(fruits, "nutrient + amd + rack + status + nutrient:amd + (1 | popu) + (1 | gen)"))
add("arabidopsis_nested_ml", "Arabidopsis", paste0(fruits, "reg + factor(nutrient) * amd + (1 | popu/gen)"),
    REML = FALSE, r = paste0(fruits, "reg + factor(nutrient) * amd + (1 | popu) + (1 | popu:gen)"))
add("arabidopsis_three_levels", "Arabidopsis", paste0(fruits, "nutrient * amd + (1 | reg/popu/gen)"),
    r = paste0(fruits, "nutrient * amd + (1 | reg) + (1 | reg:popu) + (1 | reg:popu:gen)"))
add("arabidopsis_vectors", "Arabidopsis", paste0(fruits, "nutrient * amd + status + (nutrient | gen) + (amd | popu)"))
add("arabidopsis_double_bar_ml", "Arabidopsis",
    paste0(fruits, "factor(nutrient) + amd + (1 + nutrient + rack || gen)"), REML = FALSE)

add("levels_three", "levels", "y ~ x + (1 | school/class/pupil)",
    r = "y ~ x + (1 | school) + (1 | school:class) + (1 | school:class:pupil)")
add("levels_vector_nested_ml", "levels", "y ~ x + f + (x | school/class)", REML = FALSE,
    r = "y ~ x + f + (x | school) + (x | school:class)")
add("levels_nested_crossed", "levels", "y ~ x + f + (1 | school/class) + (1 | rater)",
    r = "y ~ x + f + (1 | school) + (1 | school:class) + (1 | rater)")
add("levels_mixed_vectors", "levels", "y ~ x * f + (x | school) + (1 | school:class) + (0 + f | rater)")
add("levels_double_bar_nested", "levels", "y ~ x + (x || school/class)",
    r = "y ~ x + (1 | school) + (0 + x | school) + (1 | school:class) + (0 + x | school:class)")
add("levels_sum_both_sides", "levels", "y ~ f + (f | rater) + (1 | school)", contrasts = list(f = "sum"),
    note = "contrasts set on the factor itself, so that they hold on both sides of the bar")

add("perfect_slope_reml", "perfect_slope", "y ~ x + (x | g)", note = "correlation of one")
add("perfect_slope_ml", "perfect_slope", "y ~ x + (x | g)", REML = FALSE, note = "correlation of one")
add("zero_slope_double_bar", "zero_slope", "y ~ x + (x || g)", note = "slope variance zero")
add("zero_slope_correlated_ml", "zero_slope", "y ~ x + (x | g)", REML = FALSE, note = "correlation of one")

add("factorial_crossed_vectors", "factorial", "y ~ x + z + (x | g) + (z | h)")
add("factorial_crossed_cell_ml", "factorial", "y ~ x + z + (1 | g*h)", REML = FALSE,
    r = "y ~ x + z + (1 | g) + (1 | h) + (1 | g:h)")
add("factorial_interaction_group", "factorial", "y ~ x + (1 | g) + (1 | a & h)", r = "y ~ x + (1 | g) + (1 | a:h)")
add("factorial_empty_cell", "factorial", "y ~ a * b + (1 | g)", note = "the cell a3, b4 has no rows")
add("factorial_empty_cell_sum_ml", "factorial", "y ~ a * b + (1 | g)", REML = FALSE,
    contrasts = list(a = "sum", b = "sum"), note = "the cell a3, b4 has no rows")
add("factorial_aliased", "factorial", "y ~ x + x2 + z + (x | g)", note = "x2 = 2 x - 1")
add("factorial_aliased_early_ml", "factorial", "y ~ x2 + a + x:a + x + (1 | h)", REML = FALSE,
    note = "x is aliased with x2, the interaction comes later")
add("factorial_weights_offset", "factorial", "y ~ x + a + offset(o) + (x | g)", weights = "w")
add("factorial_offset_argument_ml", "factorial", "y ~ x + z + (1 | g) + (1 | h)", REML = FALSE, offset = "o")
add("factorial_both_offsets", "factorial", "y ~ x + offset(z) + (1 | g)", offset = "o", weights = "w")
add("factorial_logical", "factorial", "y ~ flag * x + (flag | g)")
add("factorial_three_way_ml", "factorial", "y ~ a * flag * x + (1 | g)", REML = FALSE)
add("factorial_cells_only", "factorial", "y ~ 0 + a:flag + (1 | g)")
add("factorial_nested_fixed", "factorial", "y ~ a / flag + (1 | g)")
add("factorial_factor_vector", "factorial", "y ~ a + x + (a + x | g)")
add("factorial_no_intercept_slopes", "factorial", "y ~ 0 + a + a:x + (0 + a | g) + (0 + x | g)")
add("factorial_large_numbers", "factorial", "y ~ year + (year | h)", centre = "year",
    note = "year is far from zero: lme4's own optimizers stop early")
add("factorial_diag_ml", "factorial", "y ~ x + z + diag(1 + x + z | g)", REML = FALSE,
    r = "y ~ x + z + (1 | g) + (0 + x | g) + (0 + z | g)")
add("factorial_diag_factor", "factorial", "y ~ a + diag(0 + a | g)",
    r = "y ~ a + (0 + dummy(a, \"a1\") | g) + (0 + dummy(a, \"a2\") | g) + (0 + dummy(a, \"a3\") | g)",
    note = "dummy() columns are renamed as the indicators of the factor")
add("factorial_intercept_only_twice", "factorial", "y ~ x + (1 | g) + (0 + x | g) + (z | h)")

bundled <- c("sleepstudy", "Dyestuff", "Dyestuff2", "Penicillin", "Pastes", "cake", "InstEval", "cbpp", "VerbAgg",
             "grouseticks", "Arabidopsis")

load_data <- function(spec) {
  frame <- if (spec$dataset %in% bundled) get(spec$dataset, as.environment("package:lme4")) else read_data(spec$dataset)
  for (column in names(spec$derive)) {
    rule <- spec$derive[[column]]
    frame[[column]] <- switch(rule$op,
      eq = as.double(frame[[rule$column]] == rule$value),
      div = frame[[rule$a]] / frame[[rule$b]])
  }
  if (!is.null(spec$subset)) {
    stopifnot(spec$subset$op == "ge")
    frame <- frame[frame[[spec$subset$column]] >= spec$subset$value, ]
  }
  for (column in names(spec$contrasts)) {
    contrasts(frame[[column]]) <- paste0("contr.", spec$contrasts[[column]])
  }
  frame
}

# ---- fitting -------------------------------------------------------------------------------------------------------

optimizers <- list(
  nloptwrap = list(xtol_abs = 1e-13, xtol_rel = 0, ftol_abs = 1e-13, ftol_rel = 0, maxeval = 5000),
  bobyqa = list(rhoend = 1e-10, maxfun = 20000),
  Nelder_Mead = list(FtolAbs = 1e-14, FtolRel = 1e-16, XtolRel = 1e-11, maxfun = 20000)
)
# Large models cost seconds an evaluation: coarser stops, the Newton steps do the rest.
optimizers_large <- list(
  nloptwrap = list(xtol_abs = 1e-6, xtol_rel = 0, ftol_abs = 1e-7, ftol_rel = 0, maxeval = 500),
  bobyqa = list(rhoend = 1e-5, maxfun = 500)
)

optimize <- function(devfun, name, control, start, lower) {
  found <- tryCatch(
    suppressWarnings(optimizeLmer(devfun, optimizer = name, restart_edge = FALSE, boundary.tol = 0, start = start,
                                  calc.derivs = FALSE, control = control)),
    error = function(e) NULL)
  if (is.null(found)) return(list(par = start, fval = Inf))
  list(par = pmax(found$par, lower), fval = devfun(pmax(found$par, lower)))
}

gradient <- function(devfun, theta, free, step) {
  vapply(free, function(i) {
    at <- function(k) { moved <- theta; moved[i] <- moved[i] + k * step[i]; devfun(moved) }
    (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step[i])
  }, 0)
}

hessian <- function(devfun, theta, free, step) {
  middle <- devfun(theta)
  at <- function(i, j, si, sj) {
    moved <- theta
    moved[i] <- moved[i] + si * step[i]
    moved[j] <- moved[j] + sj * step[j]
    devfun(moved)
  }
  H <- matrix(0, length(free), length(free))
  for (r in seq_along(free)) for (c in seq_len(r)) {
    i <- free[r]
    j <- free[c]
    H[r, c] <- H[c, r] <- if (i == j) (at(i, i, 1, 0) - 2 * middle + at(i, i, -1, 0)) / step[i]^2
      else (at(i, j, 1, 1) - at(i, j, 1, -1) - at(i, j, -1, 1) + at(i, j, -1, -1)) / (4 * step[i] * step[j])
  }
  H
}

# Newton steps on the coordinates off their bounds; the deviance is smooth through a zero diagonal, so differences may
# reach across the bound.
polish <- function(devfun, theta, lower, rounds) {
  best <- devfun(theta)
  for (i in which(lower == 0 & theta < 1e-3)) {
    snapped <- replace(theta, i, 0)
    if (devfun(snapped) <= best + 1e-9) theta <- snapped
  }
  free <- which(!(lower == 0 & theta == 0))
  if (!length(free)) return(list(theta = theta, gradient = 0))
  step <- 1e-3 * pmax(abs(theta), 0.02)
  g <- gradient(devfun, theta, free, step)
  for (round in seq_len(rounds)) {
    H <- hessian(devfun, theta, free, 5 * step)
    E <- eigen(H, symmetric = TRUE)
    keep <- E$values > 1e-6 * max(E$values)
    V <- E$vectors[, keep, drop = FALSE]
    moved <- theta
    moved[free] <- theta[free] - drop(V %*% (crossprod(V, g) / E$values[keep]))
    moved <- pmax(moved, lower)
    g_moved <- gradient(devfun, moved, free, step)
    if (max(abs(g_moved)) >= max(abs(g)) || devfun(moved) > best + 1e-8) break
    theta <- moved
    g <- g_moved
  }
  list(theta = theta, gradient = max(abs(g)))
}

# The optimum of a model with the single term (x | g) from its fit with x centred, where differences are accurate:
# b0 + b1 x = (b0 + m b1) + b1 (x - m).
centred_optimum <- function(call, column) {
  m <- mean(call$data[[column]])
  call$data[[column]] <- call$data[[column]] - m
  fitted <- fit_call(call, NULL)
  S <- tcrossprod(getME(fitted$model, "Tlist")[[1]])
  back <- matrix(c(1, 0, -m, 1), 2)
  L <- t(chol(back %*% S %*% t(back)))
  list(theta = L[lower.tri(L, diag = TRUE)], gradient = fitted$gradient)
}

fit <- function(spec) {
  frame <- load_data(spec)
  call <- list(formula = as.formula(spec$r), data = frame, REML = spec$REML,
               control = lmerControl(check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore",
                                     check.nobs.vs.nlev = "ignore", check.nlev.gtr.1 = "ignore",
                                     check.rankX = "silent.drop.cols", check.scaleX = "ignore"))
  if (!is.null(spec$weights)) call$weights <- as.name(spec$weights)
  if (!is.null(spec$offset)) call$offset <- as.name(spec$offset)
  if (!is.null(spec$contrasts)) call$contrasts <- lapply(spec$contrasts, function(each) paste0("contr.", each))
  known <- if (!is.null(spec$centre)) centred_optimum(call, spec$centre)
  c(fit_call(call, known), bars = list(findbars(as.formula(spec$r))), default = default_fit(call))
}

fit_call <- function(call, known) {
  parts <- suppressWarnings(do.call(lFormula, call))
  devfun <- do.call(mkLmerDevfun, parts)
  lower <- parts$reTrms$lower
  large <- nrow(parts$fr) > 20000
  tried <- list()
  controls <- if (large) optimizers_large else optimizers
  for (name in names(controls)) tried[[name]] <- optimize(devfun, name, controls[[name]], parts$reTrms$theta, lower)
  pick <- function() tried[[which.min(vapply(tried, `[[`, 0, "fval"))]]
  if (!large) for (name in c("nloptwrap", "bobyqa")) {
    tried[[paste0(name, "_again")]] <- optimize(devfun, name, controls[[name]], pick()$par, lower)
  }
  refined <- if (is.null(known)) polish(devfun, pick()$par, lower, if (large) 2 else 8) else known
  theta <- refined$theta
  value <- devfun(theta)
  model <- suppressWarnings(mkMerMod(environment(devfun),
    list(par = theta, fval = value, conv = 0, message = "", feval = 0L), parts$reTrms, fr = parts$fr))
  list(model = model, objective = value, frame = parts$fr, tried = vapply(tried, `[[`, 0, "fval"),
       gradient = refined$gradient)
}

default_fit <- function(call) {
  call$control <- lmerControl(calc.derivs = FALSE, check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore",
                              check.nobs.vs.nlev = "ignore", check.rankX = "silent.drop.cols", check.scaleX = "ignore")
  model <- suppressMessages(suppressWarnings(do.call(lmer, call)))
  if (isREML(model)) REMLcrit(model) else -2 * as.numeric(logLik(model))
}

# ---- writing -------------------------------------------------------------------------------------------------------

num <- function(x) {
  text <- ifelse(is.finite(x), sprintf("%.17g", as.double(x)), "null")
  structure(paste0("[", paste(text, collapse = ","), "]"), class = "json")
}
num1 <- function(x) structure(if (is.finite(x)) sprintf("%.17g", as.double(x)) else "null", class = "json")
rows <- function(m) structure(paste0("[", paste(apply(m, 1, num), collapse = ","), "]"), class = "json")
one <- function(x) if (is.null(x)) NULL else unbox(x)
boxed <- function(rule) if (is.null(rule)) NULL else lapply(rule, unbox)
plain <- function(text) gsub("dummy\\((\\w+), \"(\\w+)\"\\)", "\\1\\2", text)

# lme4 sorts its terms by falling number of levels, ties reversed when it sorts at all; `written` says which bar of
# the formula (doubled bars and slashes expanded), counted from 0, each of its terms is.
term_table <- function(model, bars, frame) {
  levels_of <- vapply(bars, function(bar) {
    parts <- lapply(all.vars(bar[[3]]), function(name) as.character(frame[[name]]))
    length(unique(do.call(paste, c(parts, sep = "\r"))))
  }, 0L)
  order_used <- if (any(diff(levels_of) > 0)) rev(order(levels_of)) else seq_along(bars)
  cnms <- model@cnms
  stopifnot(identical(vapply(bars[order_used], function(bar) deparse1(bar[[3]]), ""), names(cnms)))
  Map(function(group, columns, at) {
    list(group = unbox(group), columns = I(plain(unname(columns))), levels = unbox(levels_of[at]),
         written = unbox(at - 1L))
  }, names(cnms), cnms, order_used, USE.NAMES = FALSE)
}

# Conditional standard deviations from a dense inverse, against which lme4's are checked.
check_conditional <- function(model, table) {
  q <- ncol(getME(model, "Z"))
  if (q > 500) return(invisible())
  Lambda <- as.matrix(getME(model, "Lambda"))
  Zt <- as.matrix(getME(model, "Zt")) %*% diag(sqrt(weights(model)))
  V <- sigma(model)^2 * Lambda %*% solve(crossprod(t(Zt) %*% Lambda) + diag(q), t(Lambda))
  stopifnot(isTRUE(all.equal(sort(sqrt(diag(V))), sort(table$condsd), tolerance = 1e-7)))
}

ranef_table <- function(model) {
  table <- as.data.frame(ranef(model, condVar = TRUE))
  check_conditional(model, table)
  table$grpvar <- as.character(table$grpvar)
  complete <- nrow(table) <= 400
  by_group <- split(table, factor(table$grpvar, unique(table$grpvar)))
  kept <- if (complete) table else do.call(rbind, lapply(by_group, head, 50))
  sums <- lapply(by_group, function(part) {
    list(rows = unbox(nrow(part)), condval = num1(sum(part$condval)), condval2 = num1(sum(part$condval^2)),
         condsd = num1(sum(part$condsd)))
  })
  list(complete = unbox(complete), grpvar = kept$grpvar, term = plain(as.character(kept$term)),
       grp = as.character(kept$grp), condval = num(kept$condval), condsd = num(kept$condsd), sums = sums)
}

fitted_values <- function(model) {
  values <- unname(fitted(model))
  list(complete = unbox(length(values) <= 1000), values = num(if (length(values) <= 1000) values else values[1:50]),
       sum = num1(sum(values)), sum2 = num1(sum(values^2)))
}

describe <- function(spec, result) {
  model <- result$model
  beta <- fixef(model, add.dropped = TRUE)
  V <- as.matrix(vcov(model))
  VC <- as.data.frame(VarCorr(model))
  logLik_value <- logLik(model)
  stopifnot(abs(result$objective + 2 * as.numeric(logLik_value)) < 1e-8 * abs(result$objective))
  list(
    id = unbox(spec$id), dataset = unbox(spec$dataset), generated = unbox(!spec$dataset %in% bundled),
    formula = unbox(spec$formula), r_formula = unbox(spec$r), REML = unbox(spec$REML), weights = one(spec$weights),
    offset = one(spec$offset), subset = boxed(spec$subset), contrasts = boxed(spec$contrasts),
    derive = if (!is.null(spec$derive)) lapply(spec$derive, boxed), note = one(spec$note),
    unique = unbox(spec$unique),
    nobs = unbox(nobs(model)), df = unbox(attr(logLik_value, "df")),
    objective = num1(result$objective), logLik = num1(as.numeric(logLik_value)), AIC = num1(AIC(model)),
    BIC = num1(BIC(model)), singular = unbox(isSingular(model)), largest_gradient = num1(result$gradient),
    optimizers = lapply(as.list(result$tried), num1), default_control = num1(result$default),
    coefficients = names(beta), beta = num(beta), estimable = rownames(V), vcov = rows(V), se = num(sqrt(diag(V))),
    sigma = num1(sigma(model)), theta = num(getME(model, "theta")), theta_names = plain(names(getME(model, "theta"))),
    terms = term_table(model, result$bars, result$frame),
    ngrps = as.list(sapply(ngrps(model), unbox, simplify = FALSE)),
    varcorr = list(grp = VC$grp, var1 = plain(VC$var1), var2 = plain(VC$var2),
                   vcov = num(VC$vcov), sdcor = num(VC$sdcor)),
    fitted = fitted_values(model), ranef = ranef_table(model)
  )
}

lines <- character()
for (spec in models) {
  if (length(only) && !spec$id %in% only) next
  began <- Sys.time()
  result <- fit(spec)
  lines <- c(lines, toJSON(describe(spec, result), json_verbatim = TRUE, null = "null", na = "null"))
  spread <- result$tried - result$objective
  cat(sprintf("%-32s %18.8f  sing=%d  |g|=%.1e  %5.1fs  default%+.1e  %s\n", spec$id,
              result$objective, isSingular(result$model),
              result$gradient, as.double(Sys.time() - began, units = "secs"), result$default - result$objective,
              paste(sprintf("%s%+.1e", names(spread), spread), collapse = " ")))
}
versions <- list(R = unbox(as.character(getRversion())), lme4 = unbox(as.character(packageVersion("lme4"))),
                 Matrix = unbox(as.character(packageVersion("Matrix"))),
                 jsonlite = unbox(as.character(packageVersion("jsonlite"))))
writeLines(c(paste0("{\"versions\": ", toJSON(versions), ","), "\"models\": [", paste(lines, collapse = ",\n"), "]}"),
           output)
