# Reference fits of generalized linear mixed models with lme4 and glmmTMB at tight tolerances.
#   Rscript tests/reference/glmm.R tests/reference/glmm.json [ID ...]
#
# lme4 models (`engine` "glmer"): lme4's own deviance function, its inner iterations repeated until the value stops
# moving, is minimized by several optimizers and polished by Newton steps on finite differences; the lowest objective is
# kept. Its Laplace approximation takes the Fisher weights (`curvature`); with n_agq = 0 beta is estimated in the inner
# iterations. Under "negative_binomial" with an estimated size, the logarithm of the size is one more coordinate.
# glmmTMB models: Newton steps on its automatic derivatives. Its Laplace approximation takes the observed curvature, and
# dispersions are estimated by maximum likelihood: lme4's criterion for Gamma models is another one, kept under `lme4`
# for comparison.
#
# `objective` is -2 log-likelihood with all constants (lme4 leaves those of the response out with n_agq > 1; they are
# added). `vcov` is the inverse of half the Hessian of `objective` over beta, theta off the boundary and the logarithm of
# the family parameter (`coordinates` names them, a prefix says which), by extrapolated differences; with n_agq = 0 it is
# lme4's own covariance of beta. theta are lme4's: factors of the covariance of b itself, no dispersion divided out.
# `parameter` is the dispersion or the size. ranef is as in lmm.json; glmmTMB gives no conditional deviations given beta.
suppressMessages({
  library(lme4)
  library(glmmTMB)
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
  frame[] <- lapply(frame, function(column) if (is.double(column)) round(column, 5) else as.character(column))
  write.csv(frame, path, row.names = FALSE, quote = FALSE)
}

read_data <- function(name) {
  frame <- read.csv(file.path(data_folder, paste0(name, ".csv")), stringsAsFactors = FALSE)
  frame[] <- lapply(frame, function(column) if (is.character(column)) factor(column) else column)
  frame
}

# One design, a response for every family and link.
make_responses <- function() {
  set.seed(41)
  n <- 360
  g <- sample(1:24, n, replace = TRUE)
  h <- sample(1:10, n, replace = TRUE)
  school <- rep(1:9, each = 40)
  class <- rep(rep(1:4, each = 10), 9)
  x <- round(rnorm(n), 3)
  z <- round(runif(n, 1, 4), 3)
  f <- sample(c("lo", "mid", "up"), n, replace = TRUE)
  tries <- sample(1:9, n, replace = TRUE)
  exposure <- round(runif(n, 0.5, 6), 2)
  w <- sample(1:4, n, replace = TRUE)
  bg <- rnorm(24)
  bx <- 0.4 * bg + rnorm(24, sd = 0.6)
  bh <- rnorm(10)
  bs <- rnorm(9)[school]
  bc <- rnorm(36)[(school - 1) * 4 + class]
  coin <- function(eta) rbinom(n, 1, plogis(eta))
  data.frame(
    hit = coin(-0.3 + 0.8 * x + bg[g] + bx[g] * x),
    answer = c("no", "yes")[1 + coin(0.4 + 0.3 * z - 0.8 * (f == "up") + 0.9 * bs)],
    successes = rbinom(n, tries, pnorm(0.2 + 0.4 * x - 0.3 * (f == "mid") + 0.5 * bg[g] + 0.4 * bh[h])),
    tries = tries,
    rare = rbinom(n, 1, 1 - exp(-exp(-1.6 + 0.5 * x + 0.7 * bg[g]))),
    flat = rpois(n, exp(0.6 + 0.2 * x)),
    tied = rpois(n, exp(0.3 + 0.3 * x + 0.6 * bg[g] * (1 + 0.5 * x))),
    count = rpois(n, exposure * exp(-0.4 + 0.3 * x + 0.5 * bs + 0.4 * bc)),
    roots = rpois(n, (2.2 + 0.3 * x + 0.4 * bg[g])^2),
    straight = rpois(n, 4 + 1.2 * z + 0.7 * pmax(bg[g], -3)),
    over = rnbinom(n, mu = exp(1.1 + 0.4 * x + 0.6 * bg[g] + 0.5 * bx[g] * x + 0.4 * bh[h]), size = 1.8),
    amount = round(rgamma(n, shape = 3, rate = 3 / exp(0.5 + 0.4 * x + 0.4 * bg[g] + 0.4 * bx[g] * x + 0.3 * bh[h])), 4) + 1e-4,
    rate = round(rgamma(n, shape = 5, rate = 5 * (1.2 + 0.3 * z + 0.15 * pmax(bg[g], -3))), 4) + 1e-4,
    growth = exp(1 + 0.25 * x + 0.3 * bg[g]) + rnorm(n, sd = 0.35),
    x = x, z = z, f = f, exposure = exposure, shift = round(rnorm(n, sd = 0.3), 3), w = w,
    g = sprintf("g%02d", g), h = sprintf("h%02d", h), school = sprintf("s%d", school), class = sprintf("c%d", class)
  )
}

dir.create(data_folder, showWarnings = FALSE)
write_data("responses", make_responses())

# Small designs with responses made by rule, whose fits are published elsewhere.
grid <- function(groups, x) data.frame(g = rep(paste0("g", seq_len(groups)), each = length(x)), x = rep(x, groups))

make_rare_events <- function() {
  events <- list(c(4, 10), c(5, 8), c(3, 9), c(1, 8), 7, 10)
  frame <- data.frame(g = rep(sprintf("G%02d", 1:12), each = 10), exposure = rep(seq(-1.2, 1.2, length.out = 10), 12), y = 0L)
  for (group in seq_along(events)) frame$y[10 * (group - 1) + events[[group]]] <- 1L
  frame
}

make_link_trials <- function() {
  trials <- rep_len(c(13L, 14L, 15L, 16L, 12L), 48)
  probit <- c(2, 0, 2, 5, 3, 6, 1, 3, 3, 4, 7, 7, 1, 3, 5, 5, 8, 11, 4, 2, 5, 8, 9, 12, 3, 6, 6, 9, 13, 9, 1, 3, 6, 7, 7, 10,
              2, 1, 3, 4, 4, 7, 3, 6, 4, 7, 11, 11)
  cloglog <- c(3, 1, 3, 5, 3, 5, 2, 4, 3, 4, 7, 6, 2, 4, 5, 4, 7, 10, 5, 3, 5, 8, 8, 11, 4, 6, 6, 9, 12, 8, 2, 4, 7, 6, 7, 10,
               3, 2, 4, 5, 4, 7, 4, 7, 4, 7, 10, 10)
  cbind(grid(8, seq(-2.5, 2.5)), trials = trials, probit = as.integer(probit), cloglog = as.integer(cloglog))
}

make_link_counts <- function() {
  y <- c(1, 1, 1, 2, 1, 2, 2, 1, 1, 2, 2, 2, 2, 3, 2, 2, 3, 2, 3, 3, 4, 2, 2, 2, 3, 3, 4, 4, 3, 3, 3, 4, 4, 5, 5, 2, 2, 3, 2,
         3, 3, 4, 1, 1, 2, 1, 2, 2, 3, 2, 3, 3, 4, 4, 4, 4)
  cbind(grid(8, seq(-3, 3)), y = as.integer(y))
}

make_size_counts <- function() {
  y <- c(1, 3, 0, 2, 7, 2, 6, 1, 1, 3, 0, 3, 8, 2, 6, 2, 1, 3, 1, 3, 0, 3, 7, 2, 1, 4, 1, 3, 0, 3, 8, 3, 1, 5, 1, 4, 1, 3, 9,
         3, 1, 0, 1, 4, 1, 4, 10, 4)
  cbind(grid(6, seq(-3.5, 3.5)), y = as.integer(y))
}

write_data("rare_events", make_rare_events())
write_data("link_trials", make_link_trials())
write_data("link_counts", make_link_counts())
write_data("size_counts", make_size_counts())

# ---- models --------------------------------------------------------------------------------------------------------

models <- list()
# `formula` is what the Python tests fit; `r` is the same model for R where grammars differ. `derive` makes columns:
# div and sub of two, log and row number of one. `parameter` fixes the size of a negative binomial.
add <- function(id, dataset, formula, family, link, engine = "glmer", n_agq = 1, r = formula, weights = NULL,
                offset = NULL, derive = NULL, parameter = NULL, note = NULL) {
  stopifnot(is.null(models[[id]]))
  models[[id]] <<- list(id = id, dataset = dataset, formula = formula, r = r, family = family, link = link,
                        engine = engine, n_agq = n_agq, weights = weights, offset = offset, derive = derive,
                        parameter = parameter, note = note)
}

herds <- "cbind(incidence, size - incidence) ~ period + (1 | herd)"
add("cbpp_logit", "cbpp", herds, "binomial", "logit")
add("cbpp_trials", "cbpp", "prop ~ period + (1 | herd)", "binomial", "logit", weights = "size",
    derive = list(prop = list(op = "div", a = "incidence", b = "size")))
add("cbpp_probit", "cbpp", herds, "binomial", "probit")
add("cbpp_cloglog", "cbpp", herds, "binomial", "cloglog")
add("cbpp_cauchit", "cbpp", herds, "binomial", "cauchit")
add("cbpp_profiled", "cbpp", herds, "binomial", "logit", n_agq = 0)
for (nodes in c(2, 5, 9, 25)) add(paste0("cbpp_agq", nodes), "cbpp", herds, "binomial", "logit", n_agq = nodes)
add("cbpp_probit_agq11", "cbpp", herds, "binomial", "probit", n_agq = 11)
add("cbpp_one_level_per_row", "cbpp", paste0(herds, " + (1 | obs)"), "binomial", "logit",
    derive = list(obs = list(op = "row")), note = "one level of obs per row")

people <- "r2 ~ Anger + Gender + btype + situ + mode + (1 | id) + (1 | item)"
add("verbagg_crossed", "VerbAgg", people, "binomial", "logit")
add("verbagg_profiled", "VerbAgg", people, "binomial", "logit", n_agq = 0)
add("verbagg_probit_vector", "VerbAgg", "r2 ~ Anger + Gender + btype + mode + (mode | id) + (1 | item)", "binomial",
    "probit")

add("grouseticks_three", "grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION)", "poisson",
    "log", note = "one level of INDEX per row")
add("grouseticks_nested", "grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | LOCATION/BROOD)", "poisson", "log",
    r = "TICKS ~ YEAR + cHEIGHT + (1 | LOCATION) + (1 | LOCATION:BROOD)")
add("grouseticks_size", "grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", "negative_binomial",
    "log")
add("grouseticks_size_observed", "grouseticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)",
    "negative_binomial", "log", engine = "glmmTMB")

add("arabidopsis_three", "Arabidopsis", "total.fruits ~ nutrient * amd + (1 | reg) + (1 | popu) + (1 | gen)", "poisson",
    "log")
add("arabidopsis_slopes", "Arabidopsis", "total.fruits ~ nutrient + amd + rack + status + (amd | popu) + (1 | gen)",
    "poisson", "log")

add("hit_slopes", "responses", "hit ~ x + (x | g)", "binomial", "logit")
add("hit_double_bar", "responses", "hit ~ x + (x || g)", "binomial", "logit")
add("hit_slopes_crossed_cloglog", "responses", "hit ~ x + f + (x | g) + (1 | h)", "binomial", "cloglog")
add("answer_nested", "responses", "answer ~ z + f + (1 | school/class)", "binomial", "logit",
    r = "answer ~ z + f + (1 | school) + (1 | school:class)", note = "a two-level factor, and a variance of zero")
add("answer_agq7", "responses", "answer ~ z + f + (1 | school)", "binomial", "logit", n_agq = 7)
add("successes_probit_crossed", "responses", "cbind(successes, tries - successes) ~ x + f + (1 | g) + (1 | h)",
    "binomial", "probit")
add("successes_offset", "responses", "cbind(successes, tries - successes) ~ x + offset(shift) + (x | g)", "binomial",
    "logit", offset = "z", note = "an offset in the formula and one as an argument")
add("rare_cloglog", "responses", "rare ~ x + (1 | g)", "binomial", "cloglog")
add("rare_cauchit", "responses", "rare ~ x + (1 | g)", "binomial", "cauchit")
add("flat_singular", "responses", "flat ~ x + (1 | h)", "poisson", "log", note = "zero variance")
add("tied_singular", "responses", "tied ~ x + (x | g)", "poisson", "log", note = "correlation of one")
add("count_offset", "responses", "count ~ x + offset(log(exposure)) + (1 | school/class)", "poisson", "log",
    r = "count ~ x + offset(log(exposure)) + (1 | school) + (1 | school:class)")
add("count_weights", "responses", "count ~ x + f + (1 | school)", "poisson", "log", weights = "w", offset = "logged",
    derive = list(logged = list(op = "log", a = "exposure")))
add("count_agq9", "responses", "count ~ x + offset(log(exposure)) + (1 | school)", "poisson", "log", n_agq = 9)
add("roots_sqrt", "responses", "roots ~ x + (1 | g)", "poisson", "sqrt")
add("roots_sqrt_slopes", "responses", "roots ~ x + (x | g)", "poisson", "sqrt")
add("straight_identity", "responses", "straight ~ z + (1 | g)", "poisson", "identity")
add("over_size_known", "responses", "over ~ x + (1 | g)", "negative_binomial", "log", parameter = 3.25)
add("over_size", "responses", "over ~ x + (1 | g)", "negative_binomial", "log")
add("over_size_observed", "responses", "over ~ x + (1 | g)", "negative_binomial", "log", engine = "glmmTMB")
add("over_size_slopes_observed", "responses", "over ~ x + z + (x | g) + (1 | h)", "negative_binomial", "log",
    engine = "glmmTMB")
add("amount_gamma", "responses", "amount ~ x + (1 | g)", "gamma", "log", engine = "glmmTMB")
add("amount_gamma_crossed", "responses", "amount ~ x + f + (1 | g) + (1 | h)", "gamma", "log", engine = "glmmTMB")
add("amount_gamma_slopes", "responses", "amount ~ x + (x | g)", "gamma", "log", engine = "glmmTMB")
add("rate_gamma_inverse", "responses", "rate ~ z + (1 | g)", "gamma", "inverse", engine = "glmmTMB")
add("growth_gaussian_log", "responses", "growth ~ x + (1 | g)", "gaussian", "log", engine = "glmmTMB")

add("rare_events", "rare_events", "y ~ exposure + (1 | g)", "binomial", "logit")
add("link_probit", "link_trials", "cbind(probit, trials - probit) ~ x + (1 | g)", "binomial", "probit")
add("link_cloglog", "link_trials", "cbind(cloglog, trials - cloglog) ~ x + (1 | g)", "binomial", "cloglog")
add("link_sqrt", "link_counts", "y ~ x + (1 | g)", "poisson", "sqrt")
add("counts_size_known", "size_counts", "y ~ x + (1 | g)", "negative_binomial", "log", parameter = 3.25)
add("counts_size", "size_counts", "y ~ x + (1 | g)", "negative_binomial", "log")

# Túngara frogs whose calls overlap those of another: Larter and Ryan (2024), doi:10.5061/dryad.3n5tb2rrz, CC0; the rows that
# have a preceding call. Intercepts and slopes are almost the same effect.
add("frogs", "frogs", "overlapped ~ caller_mass * distance + (1 | chorus) + (caller_mass | chorus:frog)", "binomial", "logit")

bundled <- c("cbpp", "VerbAgg", "grouseticks", "Arabidopsis")

load_data <- function(spec) {
  frame <- if (spec$dataset %in% bundled) get(spec$dataset, as.environment("package:lme4")) else read_data(spec$dataset)
  for (column in names(spec$derive)) {
    rule <- spec$derive[[column]]
    frame[[column]] <- switch(rule$op,
      div = frame[[rule$a]] / frame[[rule$b]],
      log = log(frame[[rule$a]]),
      row = factor(sprintf("r%04d", seq_len(nrow(frame)))))
  }
  frame
}

# ---- optimization --------------------------------------------------------------------------------------------------

gradient <- function(value, at, free, step) {
  vapply(free, function(i) {
    f <- function(k) value(replace(at, i, at[i] + k * step[i]))
    sum(c(4 / 5, -1 / 5, 4 / 105, -1 / 280) * vapply(1:4, function(k) f(k) - f(-k), 0)) / step[i]
  }, 0)
}

hessian <- function(value, at, free, step) {
  middle <- value(at)
  f <- function(i, j, si, sj) {
    moved <- at
    moved[i] <- moved[i] + si * step[i]
    moved[j] <- moved[j] + sj * step[j]
    value(moved)
  }
  H <- matrix(0, length(free), length(free))
  for (r in seq_along(free)) for (c in seq_len(r)) {
    i <- free[r]
    j <- free[c]
    H[r, c] <- H[c, r] <- if (i == j) (f(i, i, 1, 0) - 2 * middle + f(i, i, -1, 0)) / step[i]^2
      else (f(i, j, 1, 1) - f(i, j, 1, -1) - f(i, j, -1, 1) + f(i, j, -1, -1)) / (4 * step[i] * step[j])
  }
  H
}

# Second differences, their leading error removed.
sharp_hessian <- function(value, at, free, step) {
  (4 * hessian(value, at, free, step / 2) - hessian(value, at, free, step)) / 3
}

deviations <- function(H) sqrt(pmax(diag(solve(H / 2)), 0))

# Newton steps on the coordinates off their bounds; the objective is smooth through a zero diagonal of theta, so
# differences may reach across the bound. They take a tenth of the standard errors, or less.
polish <- function(value, at, lower, unit, rounds) {
  best <- value(at)
  for (i in which(lower == 0 & at < 1e-3)) {
    snapped <- replace(at, i, 0)
    if (value(snapped) <= best + 1e-8) at <- snapped
  }
  free <- which(!(lower == 0 & at == 0))
  step <- 0.01 * unit
  H <- hessian(value, at, free, step)
  step[free] <- pmin(0.1 * deviations(H), 0.03 * unit[free])
  g <- gradient(value, at, free, step)
  for (round in seq_len(rounds)) {
    H <- sharp_hessian(value, at, free, step)
    moved <- at
    moved[free] <- at[free] - solve(H, g)
    moved <- pmax(moved, lower)
    g_moved <- gradient(value, moved, free, step)
    smaller <- max(abs(g_moved * step[free])) < max(abs(g * step[free]))
    if (!smaller || value(moved) > best + 1e-8) break
    at <- moved
    g <- g_moved
    best <- value(at)
    if (max(abs(g * step[free])) < 1e-11) break
  }
  H <- sharp_hessian(value, at, free, step)
  list(at = at, free = free, hessian = H, gradient = max(abs(g * step[free])), value = value(at))
}

optimizers <- list(
  bobyqa = function(value, at, lower) {
    minqa::bobyqa(at, value, lower = lower, control = list(rhobeg = 0.02, rhoend = 1e-9, maxfun = 20000))$par
  },
  nloptwrap = function(value, at, lower) {
    nloptr::nloptr(at, value, lb = lower, opts = list(algorithm = "NLOPT_LN_BOBYQA", xtol_abs = 1e-10, xtol_rel = 0,
                                                      ftol_abs = 1e-12, maxeval = 20000))$solution
  },
  Nelder_Mead = function(value, at, lower) {
    lme4::Nelder_Mead(value, at, lower = lower,
                      control = list(FtolAbs = 1e-12, FtolRel = 1e-16, XtolRel = 1e-10, maxfun = 20000))$par
  }
)

descend <- function(value, at, lower, names_used) {
  tried <- list()
  for (name in names_used) {
    found <- tryCatch(suppressWarnings(optimizers[[name]](value, at, lower)), error = function(e) at)
    found <- pmax(found, lower)
    tried[[name]] <- value(found)
    if (tried[[name]] <= value(at)) at <- found
  }
  list(at = at, tried = tried)
}

# ---- lme4 ----------------------------------------------------------------------------------------------------------

family_of <- function(spec, size = NULL) {
  switch(spec$family,
    binomial = binomial(spec$link), poisson = poisson(spec$link),
    gamma = Gamma(spec$link), gaussian = gaussian(spec$link),
    negative_binomial = MASS::negative.binomial(size, spec$link))
}

loose <- function(optimizer = "bobyqa", ...) {
  glmerControl(optimizer = optimizer, check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore",
               check.nobs.vs.nlev = "ignore", check.nlev.gtr.1 = "ignore", check.scaleX = "ignore", tolPwrss = 1e-12, ...)
}

call_of <- function(spec, size = NULL) {
  call <- list(formula = as.formula(spec$r), data = load_data(spec), family = family_of(spec, size))
  if (!is.null(spec$weights)) call$weights <- as.name(spec$weights)
  if (!is.null(spec$offset)) call$offset <- as.name(spec$offset)
  call
}

# lme4's deviance as a function of (theta, beta), or of theta alone with n_agq = 0. Its inner iterations stop one step
# late for the log determinant, so they go on from where they stopped until the value repeats.
deviance_function <- function(spec, size = NULL) {
  parts <- suppressMessages(do.call(glFormula, c(call_of(spec, size), list(control = loose()))))
  devfun <- do.call(mkGlmerDevfun, c(parts, list(control = loose())))
  theta <- parts$reTrms$theta
  start <- minqa::bobyqa(theta, devfun, lower = parts$reTrms$lower, control = list(rhobeg = 0.2, rhoend = 1e-5))$par
  devfun(start)
  own <- environment(devfun)
  beta <- own$pp$beta(1)
  if (spec$n_agq > 0) devfun <- updateGlmerDevfun(devfun, parts$reTrms, nAGQ = spec$n_agq)
  more <- function() {
    lme4:::glmerPwrssUpdate(own$pp, own$resp, own$tolPwrss, GHrule(spec$n_agq), own$compDev, own$fac, maxit = 100L, verbose = 0L)
  }
  value <- function(at) {
    last <- tryCatch(devfun(at), error = function(e) Inf)
    if (!is.finite(last)) return(1e10)
    for (round in 1:60) {
      now <- more()
      if (abs(now - last) <= 1e-14 * abs(now)) break
      last <- now
    }
    own$resp$updateWts()
    now
  }
  constant <- function() if (spec$n_agq > 1) own$resp$aic() - own$resp$resDev() else 0
  list(value = value, start = if (spec$n_agq > 0) c(start, beta) else start,
       lower = c(parts$reTrms$lower, if (spec$n_agq > 0) rep(-Inf, length(beta))), parts = parts, own = own,
       constant = constant, X = parts$X)
}

# Steps of the coordinates that move the linear predictor by about one.
units_of <- function(made) {
  terms <- made$parts$reTrms
  theta <- unlist(Map(function(Zt, columns) {
    width <- length(columns)
    squares <- colSums(matrix(Matrix::rowSums(Zt^2), ncol = width, byrow = TRUE)) / ncol(Zt)
    size <- 1 / pmax(sqrt(squares), 1e-8)
    size[row(diag(width))[lower.tri(diag(width), diag = TRUE)]]
  }, terms$Ztlist, terms$cnms), use.names = FALSE)
  c(theta, 1 / sqrt(colMeans(made$X^2)))[seq_along(made$start)]
}

fit_glmer <- function(spec) {
  sized <- spec$family == "negative_binomial" && is.null(spec$parameter)
  if (sized) return(fit_sized(spec))
  made <- deviance_function(spec, spec$parameter)
  large <- nrow(made$parts$fr) > 5000
  found <- descend(made$value, made$start, made$lower, if (large) "bobyqa" else names(optimizers))
  refined <- polish(made$value, found$at, made$lower, units_of(made), if (large) 3 else 8)
  finish_glmer(spec, made, refined, found$tried, spec$parameter)
}

# The size of the negative binomial: one more coordinate, a deviance function for every value of it.
fit_sized <- function(spec) {
  known <- new.env()
  at_size <- function(log_size) {
    key <- sprintf("%.17g", log_size)
    if (is.null(known[[key]])) known[[key]] <- deviance_function(spec, exp(log_size))
    known[[key]]
  }
  value <- function(at) at_size(at[length(at)])$value(at[-length(at)])
  first <- at_size(log(2))
  started <- c(first$start, log(2))
  lower <- c(first$lower, -Inf)
  # Alternating, since a new size costs a new deviance function.
  for (round in 1:6) {
    made <- at_size(started[length(started)])
    inner <- descend(made$value, started[-length(started)], made$lower, "bobyqa")$at
    size <- optimize(function(log_size) value(c(inner, log_size)), started[length(started)] + c(-1, 1), tol = 1e-6)
    started <- c(inner, size$minimum)
  }
  refined <- polish(value, started, lower, c(units_of(first), 1), 8)
  size <- exp(refined$at[length(refined$at)])
  finish_glmer(spec, at_size(log(size)), refined, list(alternating = value(started)), size)
}

finish_glmer <- function(spec, made, refined, tried, parameter) {
  n_theta <- length(made$parts$reTrms$theta)
  theta <- refined$at[seq_len(n_theta)]
  own <- made$own
  made$value(refined$at[seq_along(made$start)])
  constant <- made$constant()
  model <- suppressWarnings(mkMerMod(own, list(par = refined$at[seq_along(made$start)], fval = refined$value, conv = 0,
                                               message = "", feval = 0L), made$parts$reTrms, fr = made$parts$fr))
  beta <- setNames(if (spec$n_agq > 0) refined$at[n_theta + seq_len(ncol(made$X))] else own$pp$beta(1), colnames(made$X))
  names_all <- c(paste0("theta:", names(getME(model, "theta"))),
                 if (spec$n_agq > 0) paste0("beta:", colnames(made$X)),
                 if (length(refined$at) > length(made$start)) "log:size")
  vcov <- if (spec$n_agq > 0) solve(refined$hessian / 2) else as.matrix(vcov(model, use.hessian = FALSE))
  table <- as.data.frame(ranef(model, condVar = TRUE))
  list(objective = refined$value + constant, theta = theta, theta_names = names(getME(model, "theta")), beta = beta,
       parameter = parameter, vcov = vcov, coordinates = if (spec$n_agq > 0) names_all[refined$free] else
         paste0("beta:", colnames(made$X)), gradient = refined$gradient,
       tried = lapply(tried, function(value) value + constant), singular = isSingular(model), cnms = model@cnms,
       frame = made$parts$fr, ranef = table, fitted = unname(fitted(model)), family_size = parameter,
       free_parameter = length(refined$at) > length(made$start),
       ngrps = ngrps(model), order = "levels", curvature = "fisher")
}

# ---- glmmTMB -------------------------------------------------------------------------------------------------------

tmb_family <- function(spec) {
  switch(spec$family, gamma = Gamma(spec$link), gaussian = gaussian(spec$link), negative_binomial = nbinom2(spec$link))
}

# Newton steps on the automatic gradient of -log-likelihood, its Hessian from differences of it.
polish_tmb <- function(obj, par, rounds = 12) {
  obj$env$inner.control$tol <- 1e-14
  obj$env$inner.control$tol10 <- 0
  obj$env$inner.control$maxit <- 1000
  slope <- function(at) as.numeric(obj$gr(at))
  curve <- function(at, step) {
    H <- vapply(seq_along(at), function(i) {
      f <- function(k) slope(replace(at, i, at[i] + k * step[i]))
      (8 * (f(1) - f(-1)) - (f(2) - f(-2))) / (12 * step[i])
    }, numeric(length(at)))
    (H + t(H)) / 2
  }
  step <- rep(1e-3, length(par))
  H <- curve(par, step)
  step <- 0.05 * sqrt(diag(solve(H)))
  g <- slope(par)
  for (round in seq_len(rounds)) {
    H <- curve(par, step)
    moved <- par - solve(H, g)
    g_moved <- slope(moved)
    if (max(abs(g_moved * step)) >= max(abs(g * step))) break
    par <- moved
    g <- g_moved
  }
  list(par = par, hessian = curve(par, step), gradient = 2 * max(abs(g * step)))
}

fit_tmb <- function(spec) {
  call <- list(formula = as.formula(spec$r), data = load_data(spec), family = tmb_family(spec),
               control = glmmTMBControl(optCtrl = list(iter.max = 5000, eval.max = 5000)))
  model <- suppressWarnings(do.call(glmmTMB, call))
  obj <- model$obj
  refined <- polish_tmb(obj, model$fit$par)
  value <- obj$fn(refined$par)
  best <- obj$env$last.par
  kinds <- names(refined$par)
  report <- obj$env$report(best)
  lambdas <- Map(function(sd, corr) t(chol(diag(sd, length(sd)) %*% corr %*% diag(sd, length(sd)))), report$sd, report$corr)
  theta <- unlist(lapply(lambdas, function(L) L[lower.tri(L, diag = TRUE)]))
  parameter <- exp(unname(refined$par[kinds == "betad"]))
  if (spec$family == "gamma") parameter <- 1 / parameter
  # From glmmTMB's coordinates (log deviations and unscaled correlations) to theta, log parameter: by differences.
  natural <- function(par) {
    obj$fn(par)
    seen <- obj$env$report(obj$env$last.par)
    factors <- Map(function(sd, corr) t(chol(diag(sd, length(sd)) %*% corr %*% diag(sd, length(sd)))), seen$sd, seen$corr)
    log_parameter <- unname(par[kinds == "betad"]) * if (spec$family == "gamma") -1 else 1
    c(unlist(lapply(factors, function(L) L[lower.tri(L, diag = TRUE)])), unname(par[kinds == "beta"]), log_parameter)
  }
  J <- vapply(seq_along(refined$par), function(i) {
    f <- function(k) natural(replace(refined$par, i, refined$par[i] + k * 1e-3))
    (8 * (f(1) - f(-1)) - (f(2) - f(-2))) / 12e-3
  }, numeric(length(natural(refined$par))))
  obj$fn(refined$par)
  cnms <- model$modelInfo$reTrms$cond$cnms
  theta_names <- unlist(Map(function(group, columns) {
    labels <- outer(columns, columns, function(a, b) ifelse(a == b, paste0(group, ".", a), paste0(group, ".", a, ".", b)))
    labels[lower.tri(labels, diag = TRUE)]
  }, names(cnms), cnms), use.names = FALSE)
  X <- getME(model, "X")
  levels_used <- lapply(model$modelInfo$reTrms$cond$flist, levels)
  effects <- obj$env$parList(refined$par, best)$b
  table <- effects_table(effects, cnms, levels_used)
  list(objective = 2 * value, theta = theta, theta_names = theta_names,
       beta = setNames(refined$par[kinds == "beta"], colnames(X)), parameter = parameter,
       vcov = J %*% solve(refined$hessian) %*% t(J),
       coordinates = c(paste0("theta:", theta_names), paste0("beta:", colnames(X)),
                       paste0("log:", if (spec$family == "negative_binomial") "size" else "dispersion")),
       gradient = refined$gradient, tried = list(nlminb = -2 * as.numeric(logLik(model))), singular = FALSE, cnms = cnms,
       frame = model$frame, ranef = table, fitted = fitted_tmb(spec, model, refined$par[kinds == "beta"], effects),
       ngrps = lengths(levels_used), order = "written", free_parameter = TRUE, curvature = "observed",
       lme4 = if (spec$family != "negative_binomial") lme4_view(spec))
}

effects_table <- function(b, cnms, levels_used) {
  first <- 0
  do.call(rbind, lapply(seq_along(cnms), function(k) {
    group <- names(cnms)[k]
    rows <- levels_used[[group]]
    width <- length(cnms[[k]])
    values <- matrix(b[first + seq_len(width * length(rows))], nrow = width)
    first <<- first + length(values)
    data.frame(grpvar = group, term = rep(cnms[[k]], each = length(rows)), grp = rep(rows, width),
               condval = as.vector(t(values)), condsd = NA_real_)
  }))
}

fitted_tmb <- function(spec, model, beta, effects) {
  eta <- as.vector(getME(model, "X") %*% beta) + as.vector(getME(model, "Z") %*% effects)
  tmb_family(spec)$linkinv(eta)
}

# What glmer() says of the same model: another criterion where there is a dispersion.
lme4_view <- function(spec) {
  call <- c(call_of(spec), list(control = loose(optCtrl = list(maxfun = 20000))))
  model <- tryCatch(suppressWarnings(do.call(glmer, call)), error = function(e) NULL)
  if (is.null(model)) return(NULL)
  list(logLik = num1(as.numeric(logLik(model))), beta = num(fixef(model)), theta = num(getME(model, "theta")),
       sigma = num1(sigma(model)))
}

# ---- writing -------------------------------------------------------------------------------------------------------

num <- function(x) {
  text <- ifelse(is.finite(x), sprintf("%.17g", as.double(x)), "null")
  structure(paste0("[", paste(text, collapse = ","), "]"), class = "json")
}
num1 <- function(x) structure(if (length(x) && is.finite(x)) sprintf("%.17g", as.double(x)) else "null", class = "json")
rows <- function(m) structure(paste0("[", paste(apply(m, 1, num), collapse = ","), "]"), class = "json")
one <- function(x) if (is.null(x)) NULL else unbox(x)

# lme4 sorts its terms by falling number of levels, ties reversed when it sorts at all; glmmTMB leaves them as written.
# `written` says which bar of the formula (doubled bars and slashes expanded), counted from 0, each term is.
term_table <- function(result, spec) {
  bars <- findbars(as.formula(spec$r))
  levels_of <- vapply(bars, function(bar) {
    parts <- lapply(all.vars(bar[[3]]), function(name) as.character(result$frame[[name]]))
    length(unique(do.call(paste, c(parts, sep = "\r"))))
  }, 0L)
  sorts <- result$order == "levels" && any(diff(levels_of) > 0)
  used <- if (sorts) rev(order(levels_of)) else seq_along(bars)
  stopifnot(identical(vapply(bars[used], function(bar) deparse1(bar[[3]]), ""), names(result$cnms)))
  Map(function(group, columns, at) {
    list(group = unbox(group), columns = I(unname(columns)), levels = unbox(levels_of[at]), written = unbox(at - 1L))
  }, names(result$cnms), result$cnms, used, USE.NAMES = FALSE)
}

ranef_table <- function(table) {
  table$grpvar <- as.character(table$grpvar)
  complete <- nrow(table) <= 400
  by_group <- split(table, factor(table$grpvar, unique(table$grpvar)))
  kept <- if (complete) table else do.call(rbind, lapply(by_group, head, 50))
  sums <- lapply(by_group, function(part) {
    list(rows = unbox(nrow(part)), condval = num1(sum(part$condval)), condval2 = num1(sum(part$condval^2)),
         condsd = num1(sum(part$condsd)))
  })
  list(complete = unbox(complete), grpvar = kept$grpvar, term = as.character(kept$term), grp = as.character(kept$grp),
       condval = num(kept$condval), condsd = num(kept$condsd), sums = sums)
}

fitted_values <- function(values) {
  list(complete = unbox(length(values) <= 1000), values = num(if (length(values) <= 1000) values else values[1:50]),
       sum = num1(sum(values)), sum2 = num1(sum(values^2)))
}

describe <- function(spec, result) {
  vcov <- result$vcov
  se <- sqrt(diag(vcov))
  n <- nrow(result$frame)
  fixed <- startsWith(result$coordinates, "beta:")
  df <- length(result$beta) + length(result$theta) + result$free_parameter
  list(
    id = unbox(spec$id), dataset = unbox(spec$dataset), generated = unbox(!spec$dataset %in% bundled),
    formula = unbox(spec$formula), r_formula = unbox(spec$r), family = unbox(spec$family), link = unbox(spec$link),
    engine = unbox(spec$engine), curvature = unbox(result$curvature), n_agq = unbox(spec$n_agq),
    method = unbox(if (spec$n_agq == 0) "pirls_profiled" else "joint_laplace"),
    weights = one(spec$weights), offset = one(spec$offset),
    derive = if (!is.null(spec$derive)) lapply(spec$derive, function(rule) lapply(rule, unbox)),
    note = one(spec$note), parameter_known = one(spec$parameter), parameter = num1(result$parameter),
    nobs = unbox(n), df = unbox(df), objective = num1(result$objective), logLik = num1(-result$objective / 2),
    AIC = num1(result$objective + 2 * df), BIC = num1(result$objective + log(n) * df),
    singular = unbox(result$singular), largest_gradient = num1(result$gradient),
    optimizers = lapply(result$tried, num1),
    coefficients = names(result$beta), beta = num(result$beta), se = num(se[fixed]),
    theta = num(result$theta), theta_names = result$theta_names,
    coordinates = result$coordinates, vcov = rows(vcov), coordinate_se = num(se),
    terms = term_table(result, spec), ngrps = as.list(sapply(result$ngrps, unbox, simplify = FALSE)),
    fitted = fitted_values(result$fitted), ranef = ranef_table(result$ranef), lme4 = result$lme4
  )
}

lines <- character()
for (spec in models) {
  if (length(only) && !spec$id %in% only) next
  began <- Sys.time()
  result <- if (spec$engine == "glmer") fit_glmer(spec) else fit_tmb(spec)
  lines <- c(lines, toJSON(describe(spec, result), json_verbatim = TRUE, null = "null", na = "null"))
  spread <- unlist(result$tried) - result$objective
  cat(sprintf("%-28s %16.8f  sing=%d  |g|=%.1e  %5.1fs  theta %s  par %s  %s\n", spec$id, result$objective,
              result$singular, result$gradient, as.double(Sys.time() - began, units = "secs"),
              paste(sprintf("%.4f", result$theta), collapse = " "), format(result$parameter),
              paste(sprintf("%s%+.1e", names(spread), spread), collapse = " ")))
}
versions <- lapply(c(lme4 = "lme4", glmmTMB = "glmmTMB", TMB = "TMB", Matrix = "Matrix", MASS = "MASS", minqa = "minqa",
                     nloptr = "nloptr", jsonlite = "jsonlite"), function(name) unbox(as.character(packageVersion(name))))
versions <- c(list(R = unbox(as.character(getRversion()))), versions)
writeLines(c(paste0("{\"versions\": ", toJSON(versions), ","), "\"models\": [", paste(lines, collapse = ",\n"), "]}"),
           output)
