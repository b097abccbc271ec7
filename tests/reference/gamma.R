# Gamma responses where glmer and glmmTMB part: without groups (lme4's issue 643), and of 20 rows, made by a rule that leaves
# hardly any dispersion. glmmTMB and glmer at their defaults.
#   Rscript tests/reference/gamma.R tests/reference/gamma.json
# The data are written with all digits. `theta` is lme4's: relative to its `sigma`; `sd` is that of the random effects.
suppressMessages({
  library(lme4)
  library(glmmTMB)
  library(jsonlite)
})
output <- commandArgs(trailingOnly = TRUE)[1]
one <- function(x) unbox(as.numeric(x))
sd_of <- function(variances) attr(variances$g, "stddev")

both <- function(name, formula, data) {
  write.csv(transform(data, y = format(y, digits = 17, trim = TRUE)), file.path(dirname(output), "data", paste0(name, ".csv")),
            row.names = FALSE, quote = FALSE)
  observed <- glmmTMB(formula, family = Gamma("log"), data = data)
  other <- glmer(formula, family = Gamma("log"), data = data)
  list(
    glmmTMB = list(objective = one(-2 * logLik(observed)), beta = unname(fixef(observed)$cond), sd = one(sd_of(VarCorr(observed)$cond)),
                   dispersion = one(sigma(observed)^2)),
    glmer = list(objective = one(-2 * logLik(other)), beta = unname(fixef(other)), sd = one(sd_of(VarCorr(other))),
                 theta = one(getME(other, "theta")), sigma = one(sigma(other)))
  )
}

set.seed(123)
y <- rgamma(1000, 3, 30)
flat <- both("flat_gamma", y ~ 1 + (1 | g), data.frame(y = y, g = paste0("g", sample(1:20, 1000, replace = TRUE))))

row <- 0:4
effects <- c(-0.25, 0.1, 0.3, -0.15)
sharp <- do.call(rbind, lapply(0:3, function(g) {
  data.frame(y = exp(1.2 + 0.25 * (row - 2) + effects[g + 1]) * (1 + 0.06 * ((g + row) %% 3)), x = row - 2, g = paste0("g", g + 1))
}))
sharp <- both("sharp_gamma", y ~ x + (1 | g), sharp)

versions <- lapply(c(lme4 = "lme4", glmmTMB = "glmmTMB"), function(name) unbox(as.character(packageVersion(name))))
write(toJSON(list(versions = c(list(R = unbox(as.character(getRversion()))), versions), flat_gamma = flat, sharp_gamma = sharp),
             digits = NA), output)
