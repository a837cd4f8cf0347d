#include <iostream>
#include <map>
#include <string>

extern "C" double sum(const double *values, int count);
extern "C" const char *when(void);

int main() {
  const double values[] = {1, 2, 3};
  std::map<std::string, double> totals{{"all", sum(values, 3)}};
  std::cout << totals["all"] << " " << when() << std::endl;
}
