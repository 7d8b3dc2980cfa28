/* Results are made by one thread and freed by another; their buffers grow by realloc. Leaking: of one in ten the
 * error path forgets the buffer. */
#include "heap.h"

enum { QUEUE = 256 };
struct result {
    char *text;
    int failed;
};
static struct result queue[QUEUE];
static unsigned long put, taken;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

CODE static char *grow_text(char *text, size_t bytes) {
    return realloc(text, bytes);
}

CODE static char *make_text(void) {
    char *text = NULL;
    size_t last = 512 + draw(8192);
    for (size_t bytes = 64; bytes < 2 * last; bytes *= 2) {
        text = grow_text(text, bytes < last ? bytes : last);
        text[0] = 1;
    }
    return text;
}

CODE static void send_result(struct result *result) {
    if (result->failed && !honest)
        return;
    free(result->text);
}

static void *send_results(void *nothing) {
    while (!over || taken < put) {
        struct result one = {0};
        pthread_mutex_lock(&lock);
        if (taken < put)
            one = queue[taken++ % QUEUE];
        pthread_mutex_unlock(&lock);
        if (one.text)
            send_result(&one);
        else
            pass(5);
    }
    return nothing;
}

int main(int count, char **arguments) {
    pthread_t sender;
    begin(count, arguments);
    if (pthread_create(&sender, NULL, send_results, NULL))
        return 1;
    for (long turn = 0; turn < seconds * 100; turn++) {
        for (int at = 0; at < 5; at++) {
            struct result one = {make_text(), draw(10) == 0};
            pthread_mutex_lock(&lock);
            if (put - taken < QUEUE) {
                queue[put++ % QUEUE] = one;
                one.text = NULL;
            }
            pthread_mutex_unlock(&lock);
            free(one.text);
        }
        pass(10);
    }
    end();
    pthread_join(sender, NULL);
    return 0;
}
