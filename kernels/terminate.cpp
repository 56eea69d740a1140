// What ends the process when an exception leaves a thread of libtorch: memory that ended gets a message and exit code
// 23, a GPU that failed gets a message and exit code 25; any other exception aborts as before.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>

namespace {

struct Words {
  int code;
  const char *message;
};

constexpr Words OUT_OF_MEMORY{
    23, "error[ST5005]: out of memory: libtorch could not get the memory that it needs; saved files are intact\n"};
constexpr Words GPU_FAILED{
    25, "error[ST5006]: the GPU failed in a thread of libtorch; saved files are intact\n"};
std::terminate_handler before;

// What to say of an error; null where there is nothing to say.
const Words *words(const std::exception_ptr &error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::bad_alloc &) {
    return &OUT_OF_MEMORY;
  } catch (const std::exception &other) {
    const auto says = [text = other.what()](const char *phrase) { return std::strstr(text, phrase) != nullptr; };
    if (says("can't allocate memory") || says("not enough memory") || says("out of memory")) return &OUT_OF_MEMORY;
    return says("CUDA error: ") ? &GPU_FAILED : nullptr;
  } catch (...) {
    return nullptr;
  }
}

[[noreturn]] void terminate() {
  const auto error = std::current_exception();
  if (const Words *said = error ? words(error) : nullptr) {
    if (write(STDERR_FILENO, said->message, std::strlen(said->message)) < 0) {
      // Standard error is closed.
    }
    _exit(said->code);
  }
  before();
  std::abort();
}

}  // namespace

extern "C" void statetune_end_in_words() { before = std::set_terminate(terminate); }
