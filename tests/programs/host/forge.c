/* A process that shows interpreter structures no interpreter would make. It looks like CPython 3.12: the
 * right file name (the test's part), `_PyRuntime` among its dynamic symbols, a thread state behind a real
 * thread-specific key. What hangs there is a trap, by the first argument:
 *   loop     a frame that is its own caller
 *   long     endless frames, each with a code object of its own
 *   wild     pointers to anywhere
 *   absurd   strings and line tables of absurd lengths, and strings that are none
 *   changing all of these in turn, while it is looked at
 * It keeps its processor busy, so that it is sampled; says "ready" when the trap is set; ends with its input.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Offsets of CPython 3.12. */
enum {
    RUNTIME_BYTES = 459944, RUNTIME_HEAD = 40, RUNTIME_MAIN = 48, RUNTIME_TSS = 1544,
    INTERPRETER_ID = 8, INTERPRETER_THREADS = 72, INTERPRETER_GIL = 384,
    GIL_HOLDER = 8, GIL_LOCKED = 16,
    THREAD_INTERPRETER = 16, THREAD_CFRAME = 56, THREAD_ID = 136, THREAD_NATIVE_ID = 144,
    FRAME_CODE = 0, FRAME_PREVIOUS = 8, FRAME_INSTRUCTION = 56, FRAME_OWNER = 70, FRAME_BYTES = 128,
    TYPE = 8, CODE_LINE = 68, CODE_VERSION = 92, CODE_FILE = 112, CODE_NAME = 120, CODE_QUALNAME = 128,
    CODE_TABLE = 136, CODE_INSTRUCTIONS = 192, CODE_BYTES = 256,
    TEXT_LENGTH = 16, TEXT_STATE = 32, TEXT_DATA = 40, BYTES_LENGTH = 16, BYTES_DATA = 32,
};

__attribute__((visibility("default"), aligned(64))) unsigned char _PyRuntime[RUNTIME_BYTES];
__attribute__((visibility("default"), aligned(64))) unsigned char PyCode_Type[512];
__attribute__((visibility("default"), aligned(64))) unsigned char PyUnicode_Type[512];
__attribute__((visibility("default"))) unsigned long Py_Version = 0x030c01f0;

__attribute__((visibility("default"), noinline)) void *_PyEval_EvalFrameDefault(void *state, void *frame, int thrown)
{
    volatile uint64_t turns = 0;
    while (turns < 20000000)
        turns++;
    (void)frame;
    (void)thrown;
    return state;
}

static unsigned char interpreter[1 << 17], thread_state[4096], cframe[64], gil[128];

enum { MANY = 200000 };
static unsigned char *frames, *codes;

static void put(unsigned char *at, uint64_t value)
{
    memcpy(at, &value, 8);
}

static uint64_t random_word(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void *text(const char *what, uint64_t length)
{
    unsigned char *made = calloc(1, TEXT_DATA + strlen(what) + 1);
    put(made + TYPE, (uint64_t)(uintptr_t)PyUnicode_Type);
    put(made + TEXT_LENGTH, length);
    made[TEXT_STATE] = 1 << 2 | 0x20 | 0x40; /* kind 1, compact, ASCII */
    memcpy(made + TEXT_DATA, what, strlen(what));
    return made;
}

static void *table(uint64_t length)
{
    unsigned char *made = calloc(1, BYTES_DATA + 4096);
    put(made + BYTES_LENGTH, length);
    for (int at = 0; at < 4096; at++)
        made[BYTES_DATA + at] = (unsigned char)random_word();
    return made;
}

static void make_code(unsigned char *code, void *file, void *name, void *lines, uint32_t version)
{
    put(code + TYPE, (uint64_t)(uintptr_t)PyCode_Type);
    memcpy(code + CODE_LINE, &version, 4);
    memcpy(code + CODE_VERSION, &version, 4);
    put(code + CODE_FILE, (uint64_t)(uintptr_t)file);
    put(code + CODE_NAME, (uint64_t)(uintptr_t)name);
    put(code + CODE_QUALNAME, (uint64_t)(uintptr_t)name);
    put(code + CODE_TABLE, (uint64_t)(uintptr_t)lines);
}

static void make_frame(unsigned char *frame, const unsigned char *code, const unsigned char *previous)
{
    put(frame + FRAME_CODE, (uint64_t)(uintptr_t)code);
    put(frame + FRAME_PREVIOUS, (uint64_t)(uintptr_t)previous);
    put(frame + FRAME_INSTRUCTION, (uint64_t)(uintptr_t)code + CODE_INSTRUCTIONS);
    frame[FRAME_OWNER] = 0;
}

static void current(const unsigned char *frame)
{
    put(cframe, (uint64_t)(uintptr_t)frame);
}

static void loop(void)
{
    make_code(codes, text("loop.py", 7), text("loop", 4), table(64), 1);
    make_frame(frames, codes, frames);
    current(frames);
}

static void endless(void)
{
    static uint32_t versions;
    void *file = text("long.py", 7), *lines = table(64);
    char name[32];
    snprintf(name, sizeof name, "long_%u", versions);
    void *named = text(name, strlen(name));
    for (int at = 0; at < MANY; at++) {
        make_code(codes + (size_t)at * CODE_BYTES, file, named, lines, ++versions);
        make_frame(frames + (size_t)at * FRAME_BYTES, codes + (size_t)at * CODE_BYTES,
                   frames + (size_t)((at + 1) % MANY) * FRAME_BYTES);
    }
    current(frames);
}

/* Each time other frames of the ring are the leaf ones. */
static void shift(void)
{
    current(frames + (size_t)(random_word() % MANY) * FRAME_BYTES);
}

static void wild(void)
{
    for (int at = 0; at < 1000; at++) {
        unsigned char *frame = frames + (size_t)at * FRAME_BYTES;
        make_frame(frame, (unsigned char *)(uintptr_t)random_word(),
                   at % 7 ? frame + FRAME_BYTES : (unsigned char *)(uintptr_t)random_word());
    }
    current(random_word() % 3 ? frames + (random_word() % 900) * FRAME_BYTES
                              : (unsigned char *)(uintptr_t)random_word());
}

static void absurd(void)
{
    static const uint64_t lengths[] = {1ull << 62, ~0ull, 1ull << 63, 1ull << 32, 5000, 0};
    for (int at = 0; at < 200; at++) {
        unsigned char *code = codes + (size_t)at * CODE_BYTES;
        unsigned char *name = text("absurd\xff\xfe\n;\x1b[31m", lengths[at % 6]);
        name[TEXT_STATE] = (unsigned char)(random_word() & 0x7c);
        make_code(code, name, name, table(lengths[(at + 1) % 6]), (uint32_t)random_word());
        make_frame(frames + (size_t)at * FRAME_BYTES, code, frames + (size_t)(at + 1) * FRAME_BYTES);
    }
    put(frames + 199 * FRAME_BYTES + FRAME_PREVIOUS, 0);
    current(frames);
}

int main(int argc, char **argv)
{
    const char *trap = argc > 1 ? argv[1] : "loop";
    frames = mmap(NULL, (size_t)(MANY + 1) * FRAME_BYTES, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    codes = mmap(NULL, (size_t)(MANY + 1) * CODE_BYTES, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_key_t key;
    if (frames == MAP_FAILED || codes == MAP_FAILED || pthread_key_create(&key, NULL) != 0)
        return 1;
    pthread_setspecific(key, thread_state);
    uint32_t initialised = 1, number = key;
    memcpy(_PyRuntime + RUNTIME_TSS, &initialised, 4);
    memcpy(_PyRuntime + RUNTIME_TSS + 4, &number, 4);
    put(_PyRuntime + RUNTIME_HEAD, (uint64_t)(uintptr_t)interpreter);
    put(_PyRuntime + RUNTIME_MAIN, (uint64_t)(uintptr_t)interpreter);
    put(interpreter + INTERPRETER_ID, 0);
    put(interpreter + INTERPRETER_THREADS, (uint64_t)(uintptr_t)thread_state);
    put(interpreter + INTERPRETER_GIL, (uint64_t)(uintptr_t)gil);
    put(gil + GIL_HOLDER, (uint64_t)(uintptr_t)thread_state);
    gil[GIL_LOCKED] = 1;
    put(thread_state, (uint64_t)(uintptr_t)thread_state); /* the list of threads loops, too */
    put(thread_state + 8, (uint64_t)(uintptr_t)thread_state);
    put(thread_state + THREAD_INTERPRETER, (uint64_t)(uintptr_t)interpreter);
    put(thread_state + THREAD_CFRAME, (uint64_t)(uintptr_t)cframe);
    put(thread_state + THREAD_ID, (uint64_t)pthread_self());
    put(thread_state + THREAD_NATIVE_ID, (uint64_t)getpid());

    void (*const traps[])(void) = {loop, endless, wild, absurd};
    const char *const names[] = {"loop", "long", "wild", "absurd"};
    int changing = strcmp(trap, "changing") == 0;
    for (int at = 0; at < 4; at++)
        if (changing || strcmp(trap, names[at]) == 0)
            traps[at]();
    puts("ready");
    fflush(stdout);
    struct pollfd input = {.fd = 0, .events = POLLIN};
    for (unsigned turn = 0; poll(&input, 1, 0) == 0; turn++) {
        _PyEval_EvalFrameDefault(thread_state, frames, 0);
        if (changing && turn % 16 == 0)
            endless();
        else if (changing)
            traps[turn % 2 ? 2 : 3]();
        else if (strcmp(trap, "long") == 0)
            shift();
        else if (strcmp(trap, "wild") == 0)
            wild();
    }
    return 0;
}
