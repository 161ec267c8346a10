int plain(int x) { return 2 * x + 2; }
