# Reference tests of the fixed effects of linear mixed models with lmerTest and pbkrtest at tight optima.
#   Rscript tests/reference/inference.R tests/reference/inference.json [ID ...]
#
# Every model is fitted by two optimizers at tight tolerances and polished by Newton steps on extrapolated differences
# of lme4's deviance function (`largest_gradient`, thetas off the boundary). Treatment contrasts are used for every
# factor, ordered ones too, unless the model names others. Generated data are read back from the CSV files in
# tests/reference/data, which this script writes when they are missing.
#
# Designs: every column of `X` and of the terms' `Z` is a product of variables; of a factor, the row of `codings` that
# belongs to its level: [variable, coding] pairs, null for a number. `terms` and `theta` are in lme4's order.
# `coefficients` has all columns of X, `estimable` those that lme4 keeps; beta, vcov and the rows L refer to the latter.
#
# `anova`: lmerTest's hypotheses of types 1, 2, 3, with its F tests by Satterthwaite's method, and pbkrtest's of the same
# rows. lmerTest rounds the rows of type 3 to seven decimals: here they are the fractions that were meant. Its F tests by
# Satterthwaite's method depend on the choice of the rows that span a hypothesis (the denominator degrees of freedom, in
# the third digit), Kenward and Roger's do not. `contrasts`: ten seeded integer matrices of one to three rows, the last of them of rank two if there are
# coefficients enough; estimate, se and t where they have one row. `drop1`: likelihood ratio tests of ML fits of the
# model without the term (`chisq`), and lmerTest's drop1() (`F`).
#
# Kenward-Roger (`kr_source`): "pbkrtest" is pbkrtest as it comes. pbkrtest refits ML models by REML, and leaves prior
# weights out of the covariance of the response but not out of vcov(): "ml" has its formulas at the ML estimates,
# "weights" its formulas with the residual covariance 1/w, "ml_weights" both. For weighted models `pbkrtest_as_is` keeps
# what the package says itself, for comparison: it is not Kenward and Roger's answer.
suppressMessages({
  library(lme4)
  library(lmerTest)
  library(pbkrtest)
  library(jsonlite)
})
invisible(Sys.setlocale("LC_COLLATE", "C"))
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)

arguments <- commandArgs(trailingOnly = TRUE)
output <- arguments[1]
only <- arguments[-1]
data_folder <- file.path(dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)[1])), "data")

write_data <- function(name, frame) {
  path <- file.path(data_folder, paste0(name, ".csv"))
  if (file.exists(path)) return(invisible())
  frame[] <- lapply(frame, function(column) if (is.double(column)) round(column, 5) else as.character(column))
  write.csv(frame, path, row.names = FALSE, quote = FALSE)
}

read_data <- function(name) {
  frame <- read.csv(file.path(data_folder, paste0(name, ".csv")), stringsAsFactors = FALSE)
  frame[] <- lapply(frame, function(column) {
    if (!is.character(column)) column
    else if (all(column %in% c("true", "false"))) column == "true"
    else factor(column)
  })
  frame
}

# Patients within centres, each seen at most four times.
make_trial <- function() {
  set.seed(23)
  centre <- rep(sprintf("c%02d", 1:12), times = c(3, 9, 5, 7, 4, 8, 6, 3, 5, 7, 4, 6))
  patients <- length(centre)
  arm <- sample(c("high", "low", "placebo"), patients, replace = TRUE, prob = c(3, 4, 3))
  base <- round(rnorm(patients, 10, 2), 2)
  site <- setNames(rnorm(12), unique(centre))[centre]
  own <- rnorm(patients, sd = 1.4)
  drift <- rnorm(patients, sd = 0.5)
  long <- expand.grid(week = c(0, 2, 4, 8), patient = seq_len(patients))
  long <- long[runif(nrow(long)) > 0.22, ]
  i <- long$patient
  w <- round(rgamma(nrow(long), 2, 2) + 0.2, 2)
  score <- 4 + 0.6 * base[i] + c(high = 0.15, low = 0.05, placebo = 0)[arm[i]] * long$week +
    0.4 * (arm[i] == "low") + site[i] + own[i] + drift[i] * long$week / 2 + rnorm(nrow(long)) / sqrt(w)
  data.frame(score = unname(score), arm = arm[i], week = as.integer(long$week), visit = paste0("w", long$week),
             base = base[i], centre = centre[i], patient = sprintf("p%02d", i), w = w)
}

# Six treatments in blocks of three, incomplete, two plots lost.
make_blocks <- function() {
  set.seed(5)
  design <- rbind(c(1, 2, 3), c(1, 4, 5), c(2, 4, 6), c(3, 5, 6), c(1, 2, 6), c(1, 3, 4), c(2, 5, 3), c(4, 6, 5))
  block <- rep(1:8, each = 3)
  treatment <- as.vector(t(design))
  y <- c(0, 1, 0.5, 2, 1.5, 0)[treatment] + rnorm(8, sd = 1.2)[block] + rnorm(24)
  data.frame(y = y, treatment = letters[treatment], block = paste0("b", block))[-c(5, 20), ]
}

# Five groups, a slope, a factor between groups: few degrees of freedom.
make_few <- function() {
  set.seed(31)
  group <- rep(c("k", "l", "m", "n", "o"), times = c(7, 9, 6, 8, 10))
  g <- as.integer(factor(group))
  x <- round(runif(40, -2, 2), 3)
  kind <- c("new", "old", "old", "new", "old")[g]
  y <- 1 + 0.8 * x + 0.5 * (kind == "old") + rnorm(5, sd = 1)[g] + rnorm(5, sd = 0.6)[g] * x + rnorm(40, sd = 0.7)
  data.frame(y = y, x = x, kind = kind, group = group)
}

write_data("trial", make_trial())
write_data("blocks", make_blocks())
write_data("few", make_few())

models <- list()
add <- function(id, dataset, formula, REML = TRUE, r = formula, weights = NULL, contrasts = NULL, derive = NULL,
                subset = NULL, drop1 = FALSE, note = NULL) {
  stopifnot(is.null(models[[id]]))
  models[[id]] <<- list(id = id, dataset = dataset, formula = formula, r = r, REML = REML, weights = weights,
                        contrasts = contrasts, derive = derive, subset = subset, drop1 = drop1, note = note)
}

add("sleepstudy_intercept", "sleepstudy", "Reaction ~ Days + (1 | Subject)", drop1 = TRUE)
add("sleepstudy_slopes", "sleepstudy", "Reaction ~ Days + (Days | Subject)", drop1 = TRUE)
add("sleepstudy_slopes_ml", "sleepstudy", "Reaction ~ Days + (Days | Subject)", REML = FALSE, drop1 = TRUE)
add("sleepstudy_double_bar", "sleepstudy", "Reaction ~ Days + (Days || Subject)")
add("sleepstudy_late", "sleepstudy", "Reaction ~ Days + (Days | Subject)",
    subset = list(column = "Days", op = "ge", value = 2))
add("penicillin", "Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)")
add("pastes", "Pastes", "strength ~ 1 + (1 | batch/cask)", r = "strength ~ 1 + (1 | batch) + (1 | batch:cask)")
add("pastes_cask", "Pastes", "strength ~ cask + (1 | batch) + (1 | batch:cask)", drop1 = TRUE)
add("dyestuff", "Dyestuff", "Yield ~ 1 + (1 | Batch)")

cell <- " + (1 | recipe:replicate)"
add("cake", "cake", paste0("angle ~ recipe * temperature", cell), drop1 = TRUE)
add("cake_sum", "cake", paste0("angle ~ recipe * temperature", cell),
    contrasts = list(recipe = "sum", temperature = "sum"))
add("cake_poly_split_plot", "cake", "angle ~ recipe + temperature + (1 | replicate) + (1 | recipe:replicate)",
    contrasts = list(temperature = "poly"), drop1 = TRUE)
add("cake_number_ml", "cake", paste0("angle ~ recipe * temp", cell), REML = FALSE, drop1 = TRUE)
add("cake_helmert", "cake", paste0("angle ~ recipe * temp", cell), contrasts = list(recipe = "helmert"))

add("blocks", "blocks", "y ~ treatment + (1 | block)", drop1 = TRUE)
add("blocks_ml", "blocks", "y ~ treatment + (1 | block)", REML = FALSE, drop1 = TRUE)
add("few_slopes", "few", "y ~ x * kind + (x || group)", drop1 = TRUE)
add("few_correlated", "few", "y ~ x + kind + (x | group)")

add("trial_visits", "trial", "score ~ arm * visit + base + (1 | centre/patient)", drop1 = TRUE,
    r = "score ~ arm * visit + base + (1 | centre) + (1 | centre:patient)")
add("trial_visits_sum", "trial", "score ~ arm * visit + base + (1 | centre/patient)",
    r = "score ~ arm * visit + base + (1 | centre) + (1 | centre:patient)",
    contrasts = list(arm = "sum", visit = "sum"))
add("trial_slopes", "trial", "score ~ arm * week + base + (week | patient) + (1 | centre)")
add("trial_slopes_ml", "trial", "score ~ arm * week + base + (week | patient)", REML = FALSE, drop1 = TRUE)
add("trial_three_way", "trial", "score ~ arm * week * base + (1 | patient)", contrasts = list(arm = "sum"))
add("trial_weights", "trial", "score ~ arm * week + base + (1 | patient) + (1 | centre)", weights = "w", drop1 = TRUE)
add("trial_weights_ml", "trial", "score ~ arm + week + base + (week | patient)", REML = FALSE, weights = "w")

add("levels_nested_crossed", "levels", "y ~ x + f + (1 | school/class) + (1 | rater)", drop1 = TRUE,
    r = "y ~ x + f + (1 | school) + (1 | school:class) + (1 | rater)")
add("levels_slopes", "levels", "y ~ x * f + (x | school) + (1 | school:class)")
add("levels_three_ml", "levels", "y ~ x * f + (1 | school/class/pupil)", REML = FALSE, contrasts = list(f = "sum"),
    r = "y ~ x * f + (1 | school) + (1 | school:class) + (1 | school:class:pupil)")

add("factorial_crossed_vectors", "factorial", "y ~ x + z + (x | g) + (z | h)")
add("factorial_three_way", "factorial", "y ~ a * flag * x + (1 | g)")
add("factorial_empty_cell_sum", "factorial", "y ~ a * b + x + (1 | g) + (1 | h)", contrasts = list(a = "sum", b = "sum"),
    note = "the cell a3, b4 has no rows")
add("factorial_empty_cell", "factorial", "y ~ a * b + (1 | g)", note = "the cell a3, b4 has no rows")
add("factorial_aliased", "factorial", "y ~ x + x2 + z + (x | g)", note = "x2 = 2 x - 1")
add("factorial_weights", "factorial", "y ~ x + a + (x | g)", weights = "w")
add("factorial_weights_sum_ml", "factorial", "y ~ a * x + (1 | g) + (1 | h)", weights = "w", REML = FALSE,
    contrasts = list(a = "sum"))
add("factorial_no_intercept", "factorial", "y ~ 0 + a + x + (1 | g)")

add("cbpp_weights", "cbpp", "prop ~ period + (1 | herd)", weights = "size",
    derive = list(prop = list(op = "div", a = "incidence", b = "size")), drop1 = TRUE)
add("grouseticks", "grouseticks", "ticks ~ YEAR * cHEIGHT + (1 | BROOD) + (1 | LOCATION)",
    derive = list(ticks = list(op = "log1p", column = "TICKS")), drop1 = TRUE)
add("arabidopsis", "Arabidopsis", "fruits ~ nutrient * amd + rack + status + (1 | popu) + (1 | gen)",
    derive = list(fruits = list(op = "log1p", column = "total.fruits")))
add("arabidopsis_slopes", "Arabidopsis", "fruits ~ nutrient * amd + status + (nutrient || gen)",
    derive = list(fruits = list(op = "log1p", column = "total.fruits")))

add("dyestuff2", "Dyestuff2", "Yield ~ 1 + (1 | Batch)", note = "variance zero")
add("zero_slope_double_bar", "zero_slope", "y ~ x + (x || g)", note = "slope variance zero")
add("zero_slope_correlated_ml", "zero_slope", "y ~ x + (x | g)", REML = FALSE, note = "correlation of one")
add("perfect_slope", "perfect_slope", "y ~ x + (x | g)", note = "correlation of one")

bundled <- c("sleepstudy", "Dyestuff", "Dyestuff2", "Penicillin", "Pastes", "cake", "cbpp", "grouseticks", "Arabidopsis")

load_data <- function(spec) {
  frame <- if (spec$dataset %in% bundled) get(spec$dataset, as.environment("package:lme4")) else read_data(spec$dataset)
  for (column in names(spec$derive)) {
    rule <- spec$derive[[column]]
    frame[[column]] <- switch(rule$op, div = frame[[rule$a]] / frame[[rule$b]], log1p = log1p(frame[[rule$column]]))
  }
  if (!is.null(spec$subset)) frame <- frame[frame[[spec$subset$column]] >= spec$subset$value, ]
  frame
}

controls <- list(
  nloptwrap = list(xtol_abs = 1e-13, xtol_rel = 0, ftol_abs = 1e-13, ftol_rel = 0, maxeval = 5000),
  bobyqa = list(rhoend = 1e-10, maxfun = 20000)
)

# Newton steps on the thetas off their bounds.
polish <- function(devfun, theta, lower) {
  best <- devfun(theta)
  for (i in which(lower == 0 & theta < 1e-3)) {
    snapped <- replace(theta, i, 0)
    if (devfun(snapped) <= best + 1e-9) theta <- snapped
  }
  free <- which(!(lower == 0 & theta == 0))
  if (!length(free)) return(list(theta = theta, gradient = 0))
  value <- function(at) devfun(replace(theta, free, at))
  g <- numDeriv::grad(value, theta[free])
  for (round in 1:8) {
    E <- eigen(numDeriv::hessian(value, theta[free]), symmetric = TRUE)
    keep <- E$values > 1e-7 * max(E$values)
    V <- E$vectors[, keep, drop = FALSE]
    moved <- theta[free] - drop(V %*% (crossprod(V, g) / E$values[keep]))
    g_moved <- numDeriv::grad(value, moved)
    if (max(abs(g_moved)) >= max(abs(g)) || value(moved) > value(theta[free]) + 1e-8) break
    theta[free] <- moved
    g <- g_moved
  }
  list(theta = theta, gradient = max(abs(g)))
}

relaxed <- lmerControl(check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore", check.nobs.vs.nlev = "ignore",
                       check.rankX = "silent.drop.cols", check.scaleX = "ignore")

# `frame` and `relaxed` are global: lmerTest evaluates the call again.
fit <- function(spec, formula = as.formula(spec$r), REML = spec$REML) {
  mc <- list(formula = formula, data = quote(frame), REML = REML, control = quote(relaxed))
  if (!is.null(spec$weights)) mc$weights <- as.name(spec$weights)
  codings <- spec$contrasts[intersect(names(spec$contrasts), all.vars(nobars(formula)))]
  if (length(codings)) mc$contrasts <- lapply(codings, function(each) paste0("contr.", each))
  parts <- suppressWarnings(eval(as.call(c(quote(lFormula), mc))))
  devfun <- do.call(mkLmerDevfun, parts)
  lower <- parts$reTrms$lower
  tried <- lapply(names(controls), function(name) {
    suppressWarnings(optimizeLmer(devfun, optimizer = name, restart_edge = FALSE, boundary.tol = 0,
                                  start = parts$reTrms$theta, calc.derivs = FALSE, control = controls[[name]]))
  })
  found <- tried[[which.min(vapply(tried, `[[`, 0, "fval"))]]
  refined <- polish(devfun, pmax(found$par, lower), lower)
  value <- devfun(refined$theta)
  model <- suppressWarnings(mkMerMod(environment(devfun),
    list(par = refined$theta, fval = value, conv = 0, message = "", feval = 0L), parts$reTrms, fr = parts$fr,
    mc = as.call(c(quote(lmer), mc))))
  list(model = model, objective = value, gradient = refined$gradient, frame = parts$fr)
}

num <- function(x) {
  text <- ifelse(is.finite(x), sprintf("%.17g", as.double(x)), "null")
  structure(paste0("[", paste(text, collapse = ","), "]"), class = "json")
}
num1 <- function(x) structure(if (is.finite(x)) sprintf("%.17g", as.double(x)) else "null", class = "json")
rows <- function(m) structure(paste0("[", paste(apply(m, 1, num), collapse = ","), "]"), class = "json")
one <- function(x) if (is.null(x)) NULL else unbox(x)
numbers <- function(x) lapply(as.list(x), num1)

# Columns of the design of a right-hand side as products, and the codings that they use.
design <- function(formula, frame, contrasts) {
  tt <- terms(formula)
  pattern <- attr(tt, "factors")
  coded <- function(name) is.factor(frame[[name]]) || is.logical(frame[[name]])
  if (!attr(tt, "intercept") && length(pattern)) {
    first <- which(vapply(rownames(pattern), function(name) coded(name) && pattern[name, 1] > 0, TRUE))
    if (length(first)) pattern[first[1], 1] <- 2
  }
  codings <- list()
  columns <- if (attr(tt, "intercept")) list(list()) else list()
  values <- if (attr(tt, "intercept")) list(rep(1, nrow(frame))) else list()
  for (term in seq_along(attr(tt, "term.labels"))) {
    parts <- lapply(rownames(pattern)[pattern[, term] > 0], function(name) {
      if (!coded(name)) return(list(list(name = name, coding = NA, values = as.double(frame[[name]]))))
      column <- factor(frame[[name]])
      used <- if (pattern[name, term] == 2) diag(nlevels(column)) else {
        if (is.null(contrasts[[name]])) contr.treatment(nlevels(column))
        else get(paste0("contr.", contrasts[[name]]))(nlevels(column))
      }
      lapply(seq_len(ncol(used)), function(j) {
        label <- paste0(name, if (pattern[name, term] == 2) "=" else "~", j)
        codings[[label]] <<- setNames(used[, j], tolower_logical(levels(column), frame[[name]]))
        list(name = name, coding = label, values = used[as.integer(column), j])
      })
    })
    grid <- expand.grid(lapply(parts, seq_along))
    for (i in seq_len(nrow(grid))) {
      chosen <- Map(function(part, j) part[[j]], parts, as.list(grid[i, ]))
      columns[[length(columns) + 1]] <- lapply(chosen, function(each) c(each$name, each$coding))
      values[[length(values) + 1]] <- Reduce(`*`, lapply(chosen, `[[`, "values"))
    }
  }
  list(columns = columns, codings = codings, matrix = do.call(cbind, values))
}
tolower_logical <- function(levels, column) if (is.logical(column)) tolower(levels) else levels

products <- function(columns) {
  lapply(columns, function(factors) I(lapply(unname(factors), function(pair) {
    list(unbox(pair[1]), if (is.na(pair[2])) NULL else unbox(pair[2]))
  })))
}

# lme4 sorts its terms by falling number of levels, ties reversed when it sorts at all.
sorted_bars <- function(bars, frame) {
  levels_of <- vapply(bars, function(bar) {
    parts <- lapply(all.vars(bar[[3]]), function(name) as.character(frame[[name]]))
    length(unique(do.call(paste, c(parts, sep = "\r"))))
  }, 0L)
  if (any(diff(levels_of) > 0)) bars[rev(order(levels_of))] else bars
}

# Kenward and Roger's quantities by pbkrtest.
kr_state <- function(model, as_is = FALSE) {
  S <- get_SigmaG(model)
  w <- weights(model)
  if (!as_is && any(w != 1)) {
    last <- S$n.ggamma
    S$G[[last]] <- Matrix::Diagonal(x = 1 / w)
    S$Sigma <- S$Sigma + sigma(model)^2 * (S$G[[last]] - Matrix::Diagonal(length(w)))
  }
  Phi <- vcov(model)
  adjusted <- pbkrtest:::vcovAdj_internal(Phi, S, getME(model, "X"))
  if (isREML(model) && all(w == 1)) stopifnot(all.equal(as.matrix(adjusted), as.matrix(vcovAdj(model)), tolerance = 1e-12,
                                                        check.attributes = FALSE))
  list(adjusted = adjusted, Phi = Phi, beta = getME(model, "beta"))
}

full_rank <- function(L) {
  Q <- qr(t(L))
  L[Q$pivot[seq_len(Q$rank)], , drop = FALSE]
}

kr_test <- function(state, L, rhs = 0) {
  betaH <- if (all(rhs == 0)) 0 else drop(MASS::ginv(L) %*% rep_len(rhs, nrow(L)))
  s <- pbkrtest:::.KR_adjust(state$adjusted, state$Phi, full_rank(L), state$beta, betaH)
  out <- list(ndf = s$ndf, ddf = s$ddf, F = s$Fstat, p = s$p.value, scale = s$F.scaling, unscaled = s$FstatU)
  if (nrow(L) == 1) {
    se <- sqrt(drop(L %*% as.matrix(state$adjusted) %*% t(L)))
    t <- (sum(L * state$beta) - rhs[1]) / se
    out <- c(out, estimate = sum(L * state$beta), se = se, t = t, p_t = 2 * pt(-abs(t), s$ddf))
  }
  numbers(out)
}

satterthwaite_test <- function(model, L, rhs = 0) {
  found <- contestMD(model, L, rhs = rhs, ddf = "Satterthwaite")
  out <- list(ndf = found$NumDF, ddf = found$DenDF, F = found$`F value`, p = found$`Pr(>F)`)
  if (nrow(L) == 1) {
    each <- contest1D(model, L, rhs = rhs[1], ddf = "Satterthwaite")
    out <- c(out, estimate = each$Estimate, se = each$`Std. Error`, t = each$`t value`, p_t = each$`Pr(>|t|)`)
  }
  numbers(out)
}

coefficient_table <- function(model, state) {
  p <- length(state$beta)
  unit <- function(j) { l <- rep(0, p); l[j] <- 1; matrix(l, 1) }
  lapply(seq_len(p), function(j) {
    L <- unit(j)
    list(satterthwaite = satterthwaite_test(model, L), kenward_roger = kr_test(state, L))
  })
}

fractions_of <- function(L) {
  for (denominator in 36:1) {
    near <- round(L * denominator) / denominator
    close <- abs(L - near) < 5e-7
    L[close] <- near[close]
  }
  L
}

anova_rows <- function(model, state) {
  out <- list()
  for (type in c("1", "2", "3")) {
    table <- tryCatch(suppressMessages(lmerTest:::single_anova(model, type, "Satterthwaite")), error = function(e) NULL)
    if (is.null(table)) next
    hypotheses <- attr(table, "hypotheses")
    for (term in names(hypotheses)) {
      L <- hypotheses[[term]]
      if (!length(L) || !nrow(L)) next
      if (type == "3") L <- fractions_of(L)
      found <- contestMD(model, L, ddf = "Satterthwaite")
      stopifnot(all.equal(found, table[term, ], tolerance = 1e-5, check.attributes = FALSE))
      tested <- kr_test(state, L)
      if (isREML(model) && all(weights(model) == 1)) {
        theirs <- contestMD(model, L, ddf = "Kenward-Roger")
        stopifnot(all.equal(c(theirs$DenDF, theirs$`F value`), as.numeric(c(tested$ddf, tested$F)), tolerance = 1e-9))
      }
      out <- c(out, list(list(type = unbox(as.integer(type)), term = unbox(term), L = rows(L),
        satterthwaite = numbers(list(ndf = found$NumDF, ddf = found$DenDF, F = found$`F value`, p = found$`Pr(>F)`)),
        kenward_roger = tested)))
    }
  }
  out
}

# One to three independent rows of small integers, sometimes with a right-hand side; the last has a redundant row.
integer_contrasts <- function(p, seed) {
  set.seed(seed)
  lapply(1:10, function(k) {
    height <- min(1 + k %% 3, p)
    repeat {
      L <- matrix(sample(-2:2, height * p, replace = TRUE), height)
      if (qr(L)$rank == height) break
    }
    rhs <- if (k %% 4 == 0) sample(-3:3, height, replace = TRUE) / 2 else rep(0, height)
    if (k == 10 && p >= 2) {
      L <- rbind(L, L[1, ] - L[2, ])
      rhs <- rep(0, 3)
    }
    list(L = L, rhs = rhs)
  })
}

contrast_rows <- function(model, state, seed) {
  lapply(integer_contrasts(length(state$beta), seed), function(each) {
    list(L = rows(each$L), rhs = num(each$rhs), satterthwaite = satterthwaite_test(model, each$L, each$rhs),
         kenward_roger = kr_test(state, each$L, each$rhs))
  })
}

drop1_rows <- function(spec, model) {
  formula <- as.formula(spec$r)
  full <- if (spec$REML) fit(spec, REML = FALSE) else list(model = model, objective = -2 * as.numeric(logLik(model)))
  table <- drop1(model, ddf = "Satterthwaite")
  df_of <- function(m) attr(logLik(m), "df")
  lapply(drop.scope(nobars(formula)), function(term) {
    small <- fit(spec, update(formula, paste(". ~ . -", term)), REML = FALSE)
    chisq <- small$objective - full$objective
    df <- df_of(full$model) - df_of(small$model)
    F <- table[term, ]
    list(term = unbox(term), chisq = numbers(list(df = df, statistic = chisq, p = pchisq(chisq, df, lower.tail = FALSE),
                                                  AIC = AIC(small$model), objective = small$objective)),
         F = numbers(list(ndf = F$NumDF, ddf = F$DenDF, F = F$`F value`, p = F$`Pr(>F)`)))
  })
}

as_is_rows <- function(spec, model) {
  if (is.null(spec$weights) || !spec$REML) return(NULL)
  state <- kr_state(model, as_is = TRUE)
  p <- length(state$beta)
  list(se = num(sqrt(diag(as.matrix(state$adjusted)))),
       df = num(vapply(seq_len(p), function(j) get_Lb_ddf(model, as.numeric(seq_len(p) == j)), 0)))
}

describe <- function(spec, found) {
  model <- found$model
  formula <- as.formula(spec$r)
  fixed <- design(nobars(formula)[-2], found$frame, spec$contrasts)
  bars <- sorted_bars(findbars(formula), found$frame)
  stopifnot(identical(vapply(bars, function(bar) deparse1(bar[[3]]), ""), names(model@cnms)))
  random <- lapply(bars, function(bar) design(eval(call("~", bar[[2]])), found$frame, NULL))
  beta <- fixef(model, add.dropped = TRUE)
  V <- as.matrix(vcov(model))
  kept <- match(rownames(V), names(beta))
  stopifnot(max(abs(fixed$matrix[, kept] - getME(model, "X"))) < 1e-12)
  warned <- character()
  tested <- withCallingHandlers(as_lmerModLmerTest(model), warning = function(w) {
    warned <<- c(warned, conditionMessage(w))
    invokeRestart("muffleWarning")
  })
  state <- kr_state(model)
  kinds <- c(if (!spec$REML) "ml", if (!is.null(spec$weights)) "weights")
  list(
    id = unbox(spec$id), dataset = unbox(spec$dataset), generated = unbox(!spec$dataset %in% bundled),
    formula = unbox(spec$formula), r_formula = unbox(spec$r), REML = unbox(spec$REML), weights = one(spec$weights),
    contrasts = if (!is.null(spec$contrasts)) lapply(spec$contrasts, unbox),
    derive = if (!is.null(spec$derive)) lapply(spec$derive, function(rule) lapply(rule, unbox)),
    subset = if (!is.null(spec$subset)) lapply(spec$subset, unbox), note = one(spec$note),
    response = unbox(deparse1(formula[[2]])), X = products(fixed$columns),
    terms = Map(function(bar, each) list(group = unbox(deparse1(bar[[3]])), Z = products(each$columns)), bars, random),
    codings = lapply(do.call(c, c(list(fixed$codings), lapply(random, `[[`, "codings"))), function(each) numbers(each)),
    nobs = unbox(nobs(model)), objective = num1(found$objective), largest_gradient = num1(found$gradient),
    singular = unbox(isSingular(model)), theta = num(getME(model, "theta")), sigma = num1(sigma(model)),
    coefficients = names(beta), estimable = I(rownames(V)), beta = num(beta[kept]), vcov = rows(V),
    lmertest_warnings = I(warned),
    kr_source = unbox(if (length(kinds)) paste(kinds, collapse = "_") else "pbkrtest"),
    adjusted = rows(as.matrix(state$adjusted)), pbkrtest_as_is = as_is_rows(spec, model),
    table = coefficient_table(tested, state), anova = anova_rows(tested, state),
    contrast_tests = contrast_rows(tested, state, sum(utf8ToInt(spec$id))),
    drop1 = if (spec$drop1) drop1_rows(spec, tested)
  )
}

lines <- character()
for (spec in models) {
  if (length(only) && !spec$id %in% only) next
  began <- Sys.time()
  frame <- load_data(spec)
  found <- fit(spec)
  record <- describe(spec, found)
  lines <- c(lines, toJSON(record, json_verbatim = TRUE, null = "null", na = "null"))
  cat(sprintf("%-28s n=%4d p=%2d %16.8f sing=%d |g|=%.1e %5.1fs %s\n", spec$id, nobs(found$model), length(record$estimable),
              found$objective, isSingular(found$model), found$gradient, as.double(Sys.time() - began, units = "secs"),
              paste(record$lmertest_warnings, collapse = " ")))
}
versions <- list(R = unbox(as.character(getRversion())))
for (package in c("lme4", "lmerTest", "pbkrtest", "numDeriv", "Matrix", "jsonlite")) {
  versions[[package]] <- unbox(as.character(packageVersion(package)))
}
writeLines(c(paste0("{\"versions\": ", toJSON(versions), ","), "\"models\": [", paste(lines, collapse = ",\n"), "]}"),
           output)
