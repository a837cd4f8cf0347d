#include <stdio.h>

int main(void) {
  puts("hello from " __FILE__ " of " __DATE__);
  return 0;
}
