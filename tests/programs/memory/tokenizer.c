/* An extension for Python with functions of the stable interface, declared here: no headers are needed. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define CODE __attribute__((noinline, noclone))

typedef struct object object;
typedef object *(*method)(object *, object *);
struct definition {
    const char *name;
    method call;
    int flags;
    const char *text;
};
struct module {
    struct {
        ptrdiff_t references;
        void *type;
        void *init;
        ptrdiff_t index;
        object *copy;
    } base;
    const char *name, *text;
    ptrdiff_t size;
    struct definition *methods;
    void *slots, *traverse, *clear, *free;
};

object *PyModule_Create2(struct module *, int);
int PyArg_ParseTuple(object *, const char *, ...);
object *PyLong_FromLong(long);

CODE static char *copy_prompt(const char *prompt) {
    char *copy = malloc(1024);
    strcpy(copy, prompt);
    return copy;
}

CODE static object *count_words(object *self, object *arguments) {
    const char *prompt;
    int honest;
    if (!PyArg_ParseTuple(arguments, "sp", &prompt, &honest))
        return NULL;
    char *copy = copy_prompt(prompt);
    long words = 1;
    for (const char *at = copy; *at; at++)
        words += *at == ' ';
    if (honest)
        free(copy);
    return PyLong_FromLong(words);
}

static struct definition methods[] = {{"count", count_words, 1, NULL}, {NULL, NULL, 0, NULL}};
static struct module module = {.base = {.references = 1}, .name = "tokenizer", .size = -1, .methods = methods};

object *PyInit_tokenizer(void) {
    return PyModule_Create2(&module, 3);
}
