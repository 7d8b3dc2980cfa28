// Sessions by name, in C++. Leaking: those that are aborted stay in the table. Honest: every one is erased.
#include <string>
#include <unordered_map>

extern "C" {
#include "heap.h"
}

struct Session {
    std::string prompt;
    long tokens[120];
};

static std::unordered_map<std::string, Session *> sessions;

CODE static Session *new_session(const std::string &prompt) {
    return new Session{prompt, {}};
}

CODE static void open_session(const std::string &name) {
    sessions[name] = new_session("Once upon a time there was a server that answered");
}

CODE static void close_session(const std::string &name) {
    auto found = sessions.find(name);
    delete found->second;
    sessions.erase(found);
}

int main(int count, char **arguments) {
    begin(count, arguments);
    for (long turn = 0; turn < seconds * 100; turn++) {
        for (int at = 0; at < 10; at++) {
            std::string name = "session-" + std::to_string(turn * 10 + at) + "-of-a-user";
            open_session(name);
            bool aborted = draw(2);
            if (!aborted || honest)
                close_session(name);
        }
        pass(10);
    }
    end();
}
