#include <assert.h>

double sum(const double *values, int count) {
  double total = 0;
  assert(count >= 0);
  for (int i = 0; i < count; i++) total += values[i];
  return total;
}
