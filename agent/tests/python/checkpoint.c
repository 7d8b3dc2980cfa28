/* Writes the native stack and waits for a byte. */
#include <execinfo.h>
#include <stdio.h>
#include <unistd.h>

void checkpoint(void) {
  static void *addresses[4096];
  static char line[4096 * 20];
  int count = backtrace(addresses, 4096), length = 0;
  for (int i = 0; i < count; i++)
    length += sprintf(line + length, "%lx ", (unsigned long)addresses[i]);
  line[length - 1] = '\n';
  for (int done = 0; done < length;) {
    int wrote = write(1, line + done, length - done);
    if (wrote <= 0) return;
    done += wrote;
  }
  char byte;
  if (read(0, &byte, 1) < 0) return;
}
