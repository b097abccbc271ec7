# Gamma responses without groups (lme4's issue 643): glmmTMB and glmer at their defaults.
#   Rscript tests/reference/gamma.R tests/reference/gamma.json
# The data are written with all digits. `theta` is lme4's: relative to its `sigma`; `sd` is that of the random effects.
suppressMessages({
  library(lme4)
  library(glmmTMB)
  library(jsonlite)
})
output <- commandArgs(trailingOnly = TRUE)[1]
set.seed(123)
y <- rgamma(1000, 3, 30)
data <- data.frame(y = y, g = paste0("g", sample(1:20, 1000, replace = TRUE)))
write.csv(transform(data, y = format(y, digits = 17)), file.path(dirname(output), "data", "flat_gamma.csv"),
          row.names = FALSE, quote = FALSE)
observed <- glmmTMB(y ~ 1 + (1 | g), family = Gamma("log"), data = data)
other <- glmer(y ~ 1 + (1 | g), family = Gamma("log"), data = data)
one <- function(x) unbox(as.numeric(x))
sd_of <- function(variances) attr(variances$g, "stddev")
versions <- lapply(c(lme4 = "lme4", glmmTMB = "glmmTMB"), function(name) unbox(as.character(packageVersion(name))))
write(toJSON(list(
  versions = c(list(R = unbox(as.character(getRversion()))), versions),
  glmmTMB = list(objective = one(-2 * logLik(observed)), beta = one(fixef(observed)$cond), sd = one(sd_of(VarCorr(observed)$cond)),
                 dispersion = one(sigma(observed)^2)),
  glmer = list(objective = one(-2 * logLik(other)), beta = one(fixef(other)), sd = one(sd_of(VarCorr(other))),
               theta = one(getME(other, "theta")), sigma = one(sigma(other)))
), digits = NA), output)
