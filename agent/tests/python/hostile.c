/* A program that looks like CPython 3.12 and lies about everything behind it. The first argument says
   how. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t _PyRuntime[32768];
const unsigned long Py_Version = 0x030c01f0;
uint64_t PyCode_Type[64];
void _PyEval_EvalFrameDefault(void) { __asm__ volatile("nop"); }

static uint64_t interpreter[512], gil[32], thread[64], second[64], cframe[4];
static uint64_t frame[2][16], code[64], text[8], table[8];

static void frame_at(uint64_t *at, uint64_t what, uint64_t previous) {
  at[0] = what;
  at[1] = previous;
  at[7] = what + 192;
}

static void string(uint64_t length, uint32_t state) {
  text[2] = length;
  memcpy(&text[4], &state, 4);
  memcpy(&text[5], "evil\n\033[31m", 11);
}

int main(int argc, char **argv) {
  pthread_key_t key;
  const char *mode = argc > 1 ? argv[1] : "";
  pthread_key_create(&key, NULL);
  pthread_setspecific(key, thread);
  uint32_t tss[2] = {1, key};
  memcpy((char *)_PyRuntime + 1544, tss, sizeof tss);
  _PyRuntime[5] = _PyRuntime[6] = (uint64_t)interpreter;
  interpreter[72 / 8] = (uint64_t)thread;
  interpreter[384 / 8] = (uint64_t)gil;
  thread[136 / 8] = (uint64_t)pthread_self();
  thread[144 / 8] = syscall(SYS_gettid);
  thread[56 / 8] = (uint64_t)cframe;
  cframe[0] = (uint64_t)frame[0];
  code[1] = (uint64_t)PyCode_Type;
  uint32_t first = 0xffffffff;
  memcpy((char *)code + 68, &first, 4);
  code[112 / 8] = code[120 / 8] = code[128 / 8] = (uint64_t)text;
  code[136 / 8] = (uint64_t)table;
  string(11, 0x64);
  table[2] = 16;
  memset(&table[4], 0xff, 16);
  frame_at(frame[0], (uint64_t)code, (uint64_t)frame[1]);
  frame_at(frame[1], (uint64_t)code, 0);

  if (!strcmp(mode, "loop")) frame_at(frame[1], (uint64_t)code, (uint64_t)frame[0]);
  if (!strcmp(mode, "wild")) frame_at(frame[1], 0xffffffffffffffffull, 0x7fffdeadbeef0001ull);
  if (!strcmp(mode, "kernel")) frame_at(frame[1], 0xffffffff81000000ull, 0xffffffff81000000ull);
  if (!strcmp(mode, "threads")) {
    /* A list without an end, in which the thread is not. */
    interpreter[72 / 8] = (uint64_t)second;
    memcpy(second, thread, sizeof second);
    second[1] = (uint64_t)second;
    second[144 / 8] = 1;
    pthread_setspecific(key, second);
  }
  if (!strcmp(mode, "strings")) string(0x7fffffffffffffffull, 0x64);
  if (!strcmp(mode, "table")) table[2] = 0xffffffffffffffffull;
  if (!strcmp(mode, "large table")) table[2] = 1ull << 40;
  if (!strcmp(mode, "lock")) interpreter[384 / 8] = 0xfffffffffffffff8ull;
  if (!strcmp(mode, "key")) {
    tss[1] = 900;
    memcpy((char *)_PyRuntime + 1544, tss, sizeof tss);
    pthread_setspecific(key, NULL);
    thread[136 / 8] = (uint64_t)pthread_self();
    interpreter[0] = 0;
    pthread_setspecific(key, (void *)1);
  }
  if (!strcmp(mode, "interpreter")) _PyRuntime[6] = 0xdeadbeef;
  puts("ready");
  fflush(stdout);
  char byte;
  return read(0, &byte, 1) < 0;
}
