half <- function(x) {
  total <- 0
  for (part in x) total <- total + part / 2
  total
}
