# Writes the data sets of lme4 as CSV (numbers at 17 significant digits, factors as 0-based level codes) with one
# JSON of column kinds, level orders and versions.
#   Rscript tests/reference/export_datasets.R OUTPUT_FOLDER
suppressMessages({
  library(lme4)
  library(jsonlite)
})

sets <- c("sleepstudy", "Dyestuff", "Dyestuff2", "Penicillin", "Pastes", "cake", "InstEval", "cbpp", "VerbAgg",
          "grouseticks", "Arabidopsis")
folder <- commandArgs(trailingOnly = TRUE)[1]
dir.create(folder, showWarnings = FALSE, recursive = TRUE)

describe <- function(column) {
  if (is.factor(column)) {
    list(kind = unbox("factor"), ordered = unbox(is.ordered(column)), levels = levels(column))
  } else if (is.integer(column)) {
    list(kind = unbox("integer"))
  } else {
    stopifnot(is.double(column))
    list(kind = unbox("double"))
  }
}

as_text <- function(column) {
  if (is.factor(column)) as.character(as.integer(column) - 1L)
  else if (is.integer(column)) as.character(column)
  else sprintf("%.17g", column)
}

meta <- list()
for (name in sets) {
  frame <- get(name, envir = as.environment("package:lme4"))
  stopifnot(!anyNA(frame))
  text <- as.data.frame(lapply(frame, as_text), check.names = FALSE)
  names(text) <- names(frame)
  write.csv(text, file.path(folder, paste0(name, ".csv")), row.names = FALSE, quote = FALSE)
  meta[[name]] <- lapply(as.list(frame), describe)
}
source_text <- sprintf("R package lme4 %s", as.character(packageVersion("lme4")))
writeLines(toJSON(list(exported_from = unbox(source_text), sets = meta), pretty = TRUE), file.path(folder, "meta.json"))
