/* The least libcuda.so.1 that lets the shim start: it is loaded, and it has a version. */

int cuDriverGetVersion(int *version) {
    *version = 12040;
    return 0;
}
