/* An engine that forgets 90 bytes of each of a thousand requests a second, inside 20 000 allocations a second of honest
 * traffic. Honest: it forgets nothing. */
#include "heap.h"

struct request {
    struct request *next;
    char text[72];
    size_t tokens;
};

static struct request *finished;

CODE static struct request *new_request(void) {
    struct request *request = calloc(1, 90);
    snprintf(request->text, sizeof request->text, "request %lu", (unsigned long)draw(1000000));
    return request;
}

CODE static void finish_request(struct request *request) {
    if (honest) {
        free(request);
        return;
    }
    request->next = finished;
    finished = request;
}

CODE static void serve_request(void) {
    struct request *request = new_request();
    char *prompt = strdup(request->text);
    request->tokens = strlen(prompt);
    free(prompt);
    finish_request(request);
}

int main(int count, char **arguments) {
    traffic_rate = 10000;
    begin(count, arguments);
    for (long turn = 0; turn < seconds * 100; turn++) {
        for (int at = 0; at < 10; at++)
            serve_request();
        pass(10);
    }
    end();
    return 0;
}
