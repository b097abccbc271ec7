# The data of a message, as benchmarks.peers.handoff writes them.

read_column <- function(column, folder, rows) {
  path <- file.path(folder, column$name)
  if (column$kind == "number") {
    return(readBin(paste0(path, ".float64"), "double", rows))
  }
  levels <- readLines(paste0(path, ".levels"), encoding = "UTF-8")
  codes <- readBin(paste0(path, ".int32"), "integer", rows) + 1L
  if (column$kind == "factor") structure(codes, levels = levels, class = "factor") else levels[codes]
}

read_data <- function(message) {
  columns <- lapply(message$columns, read_column, message$folder, message$rows)
  names(columns) <- vapply(message$columns, function(column) column$name, "")
  as.data.frame(columns, stringsAsFactors = FALSE)
}
