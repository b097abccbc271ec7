# Model comparisons and methods of fitted models in lme4, for the tests of the fitted object.
#   Rscript tests/reference/anova.R tests/reference/anova.json
suppressMessages({
  library(lme4)
  library(jsonlite)
})
invisible(Sys.setlocale("LC_COLLATE", "C"))
options(contrasts = c("contr.treatment", "contr.treatment"), warn = 1)
tight <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE, optCtrl = list(rhoend = 1e-10, maxfun = 20000))

table_of <- function(fits, refit = TRUE) {
  result <- suppressWarnings(suppressMessages(do.call(anova, c(unname(fits), refit = refit))))
  list(formulas = vapply(fits, function(m) gsub("\\s+", " ", deparse1(formula(m))), "", USE.NAMES = FALSE),
       REML = vapply(fits, isREML, TRUE, USE.NAMES = FALSE), refit = unbox(refit), npar = result$npar, AIC = result$AIC,
       BIC = result$BIC, logLik = result$logLik, deviance = result$deviance, Chisq = result$Chisq, Df = result$Df,
       p = result$`Pr(>Chisq)`)
}
fits <- function(data, REML, ...) lapply(list(...), function(f) lmer(f, data, REML = REML, control = tight))

sleep_random <- list(Reaction ~ Days + (1 | Subject), Reaction ~ Days + (Days || Subject), Reaction ~ Days + (Days | Subject))
comparisons <- list(
  sleepstudy_ml = table_of(do.call(fits, c(list(sleepstudy, FALSE), sleep_random))),
  sleepstudy_reml_kept = table_of(do.call(fits, c(list(sleepstudy, TRUE), sleep_random)), refit = FALSE),
  sleepstudy_fixed_refitted = table_of(fits(sleepstudy, TRUE, Reaction ~ 1 + (Days | Subject),
                                            Reaction ~ Days + (Days | Subject))),
  cake_fixed_refitted = table_of(fits(cake, TRUE, angle ~ temp + (1 | recipe:replicate),
                                      angle ~ recipe + temp + (1 | recipe:replicate),
                                      angle ~ recipe * temp + (1 | recipe:replicate),
                                      angle ~ recipe * temperature + (1 | recipe:replicate))),
  penicillin_ml = table_of(fits(Penicillin, FALSE, diameter ~ 1 + (1 | sample),
                                diameter ~ 1 + (1 | plate) + (1 | sample)))
)

describe <- function(model, newdata, partial) {
  unseen <- newdata
  unseen[[names(ranef(model))[1]]] <- "none"
  interval <- confint(model, method = "Wald", level = 0.9)
  components <- getME(model, "devcomp")$cmp
  list(
    logLik_ML = unbox(as.numeric(logLik(model, REML = FALSE))), logLik_REML = unbox(as.numeric(logLik(model, REML = TRUE))),
    extractAIC = extractAIC(model), df_residual = unbox(df.residual(model)),
    wald_rows = rownames(interval), wald = unname(interval),
    residuals = sapply(c("response", "pearson", "deviance", "working"),
                       function(type) unname(residuals(model, type = type)), simplify = FALSE),
    scaled = unname(residuals(model, type = "pearson", scaled = TRUE)),
    population = unname(predict(model, newdata, re.form = NA)), conditional = unname(predict(model, newdata)),
    partial = unname(predict(model, newdata, re.form = partial)),
    unseen = unname(predict(model, unseen, allow.new.levels = TRUE)),
    coef = as.list(coef(model)[[1]]), coef_levels = rownames(coef(model)[[1]]),
    ranef_columns = names(as.data.frame(ranef(model))), varcorr_columns = names(as.data.frame(VarCorr(model))),
    u = as.numeric(getME(model, "u")), b = as.numeric(getME(model, "b")), lower = getME(model, "lower"),
    Z_column_sums = as.numeric(Matrix::colSums(getME(model, "Z"))), Z_nonzero = unbox(Matrix::nnzero(getME(model, "Z"))),
    Lambda_diagonal = as.numeric(Matrix::diag(getME(model, "Lambda"))), X_column_sums = unname(colSums(getME(model, "X"))),
    cnms = getME(model, "cnms"), n_rtrms = unbox(getME(model, "n_rtrms")), n_rfacs = unbox(getME(model, "n_rfacs")),
    devcomp = as.list(components[c("ldL2", "wrss", "ussq", "pwrss")]),
    correlation = unname(cov2cor(as.matrix(vcov(model))))
  )
}
cbpp$prop <- cbpp$incidence / cbpp$size
methods <- list(
  sleepstudy = describe(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, control = tight),
                        data.frame(Days = c(0, 4.5, 11), Subject = c("308", "309", "372")), ~ (1 | Subject)),
  cbpp = describe(lmer(prop ~ period + (1 | herd), cbpp, weights = size, control = tight),
                  data.frame(period = c("1", "3", "4"), herd = c("1", "11", "7"), size = 1), ~ (1 | herd)),
  penicillin = describe(lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin, control = tight),
                        data.frame(plate = c("a", "x"), sample = c("B", "F")), ~ (1 | sample))
)
write(toJSON(list(comparisons = comparisons, methods = methods), digits = NA, na = "null", null = "null", pretty = FALSE),
      commandArgs(trailingOnly = TRUE)[1])
