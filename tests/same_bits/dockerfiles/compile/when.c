const char *when(void) { return "compiled on " __DATE__ " at " __TIME__ " from " __FILE__; }
