// The meeting of the processes that train one model, and what they send each other: libtorch's TCPStore and ProcessGroupGloo.
//
// A store holds texts by key; one process serves it, or the launcher does. A group moves tensors of the CPU between all its
// processes, and each process makes the same calls in the same order; or from one process to another. No exception leaves this file: a function returns 0, or
// another number after writing its reason into `message`.
#define USE_C10D_GLOO
#include <c10/util/Logging.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstring>
#include <deque>

#include "autograd_shim.h"

using at::Tensor;
using std::chrono::milliseconds;

namespace {

// How long a call of a group waits: another process may evaluate for hours. A process that dies ends the wait at once, a
// machine that no longer answers after SILENCE_SECS.
constexpr milliseconds WITHOUT_END = std::chrono::hours(24 * 365);
constexpr int SILENCE_SECS = 15;

// Lets the system ask the other ends of all connections whether they are still there, and end those that do not answer
// within SILENCE_SECS. libtorch has no setting for that.
void end_silent_connections() {
  constexpr int EACH = SILENCE_SECS / 3;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int socket = 0; socket < int(std::min<rlim_t>(limit.rlim_cur, 1 << 16)); socket++) {
    const auto set = [&](int level, int name, int value) {
      setsockopt(socket, level, name, &value, sizeof value);
    };
    sockaddr_storage other{};
    socklen_t len = sizeof other;
    if (getpeername(socket, reinterpret_cast<sockaddr *>(&other), &len)) continue;
    if (other.ss_family != AF_INET && other.ss_family != AF_INET6) continue;
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, EACH);
    set(IPPROTO_TCP, TCP_KEEPINTVL, EACH);
    set(IPPROTO_TCP, TCP_KEEPCNT, 2);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, SILENCE_SECS * 1000);
  }
}

// Tensors on their way from this process to others, at most. More than a model has blocks, so that a process may be one chunk of
// tokens ahead of the next one.
constexpr size_t MOST_ON_THEIR_WAY = 128;

struct Group {
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;
  std::deque<c10::intrusive_ptr<c10d::Work>> given;

  // Waits until at most `most` tensors are on their way, for the one that was given first.
  void settle(size_t most) {
    for (; given.size() > most; given.pop_front()) given.front()->wait(WITHOUT_END);
  }
};

// An exchange under way.
struct Pending {
  c10::intrusive_ptr<c10d::Work> work;
};

// Tells of a gradient that is complete.
struct Watch final : torch::autograd::PostAccumulateGradHook {
  Watch(int64_t number, void (*done)(int64_t)) : number(number), done(done) {}
  void operator()(const Tensor &) override { done(number); }

  int64_t number;
  void (*done)(int64_t);
};

struct Meeting {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  c10::intrusive_ptr<c10d::Store> store;
};

}  // namespace

// Opens the store at `host` and `port` (0: any free port) and writes its port to `port`. The process serves the store if
// `serves` is not 0. Keys of the store begin with `prefix`.
extern "C" int statetune_meeting_open(const char *host, int *port, int serves, const char *prefix, int64_t timeout_ms,
                                      Meeting **meeting, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    FLAGS_caffe2_log_level = 3;  // failures come back as messages; each attempt to connect would print another
    c10d::TCPStoreOptions options;
    options.port = uint16_t(*port);
    options.isServer = serves != 0;
    options.waitWorkers = false;
    options.timeout = milliseconds(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *port = tcp->getPort();
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, tcp);
    *meeting = new Meeting{std::move(tcp), std::move(store)};
  });
}

extern "C" void statetune_meeting_close(Meeting *meeting) { delete meeting; }

// Stores `len` bytes under a key.
extern "C" int statetune_meeting_set(const Meeting *meeting, const char *key, const uint8_t *bytes, size_t len,
                                     char *message, size_t message_len) {
  return caught(message, message_len,
                [&] { meeting->store->set(key, std::vector<uint8_t>(bytes, bytes + len)); });
}

// Writes the bytes of a key to `bytes`, at most `capacity`, and their number to `len`; -1 where the key is missing.
extern "C" int statetune_meeting_get(const Meeting *meeting, const char *key, uint8_t *bytes, size_t capacity,
                                     int64_t *len, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    *len = -1;
    if (!meeting->store->check({key})) return;
    const auto found = meeting->store->get(key);
    const auto kept = std::min(found.size(), capacity);
    std::memcpy(bytes, found.data(), kept);
    *len = int64_t(kept);
  });
}

// Connects all `world` processes that call it, each with its own `rank`. `own` is the address at which the others reach this
// process; an empty one stands for the interface that GLOO_SOCKET_IFNAME names.
extern "C" int statetune_group_open(const Meeting *meeting, int rank, int world, const char *own, int64_t timeout_ms,
                                    Group **group, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    using c10d::ProcessGroupGloo;
    auto options = ProcessGroupGloo::Options::create(milliseconds(timeout_ms));
    options->devices.push_back(*own ? ProcessGroupGloo::createDeviceForHostname(own, false)
                                    : ProcessGroupGloo::createDeviceForInterface(std::getenv("GLOO_SOCKET_IFNAME"), false));
    auto gloo = c10::make_intrusive<ProcessGroupGloo>(meeting->store, rank, world, options);
    end_silent_connections();
    *group = new Group{std::move(gloo), {}};
  });
}

extern "C" void statetune_group_close(Group *group) { delete group; }

// Begins an exchange: `out` (world, n), row `r` of `out` becomes row `rank` of the `in` (world, n) of process `r`. The exchange keeps both
// tensors. Processes begin their exchanges in one order.
extern "C" int statetune_group_begin_exchange(const Group *group, Tensor *out, Tensor *in, Pending **pending,
                                              char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    c10d::AllToAllOptions options;
    options.timeout = WITHOUT_END;
    std::vector<int64_t> even;
    *pending = new Pending{group->gloo->alltoall_base(*out, *in, even, even, options)};
  });
}

// Waits until an exchange is over.
extern "C" int statetune_pending_wait(const Pending *pending, char *message, size_t message_len) {
  return caught(message, message_len, [&] { pending->work->wait(); });
}

extern "C" void statetune_pending_close(Pending *pending) { delete pending; }

// Calls `done` with `number` whenever a backward pass has accumulated a gradient into `leaf`, on the thread of that pass.
extern "C" int statetune_watch_gradient(const Tensor *leaf, int64_t number, void (*done)(int64_t), char *message,
                                        size_t message_len) {
  return caught(message, message_len, [&] {
    torch::autograd::impl::set_post_acc_grad_hooks(*leaf, std::make_unique<Watch>(number, done));
  });
}

// `out` (world, n): row `r` is the `in` (1, n) of process `r`.
extern "C" int statetune_group_gather(Group *group, Tensor *out, Tensor *in, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    group->settle(0);
    c10d::AllgatherOptions options;
    options.timeout = WITHOUT_END;
    group->gloo->_allgather_base(*out, *in, options)->wait();
  });
}

// Copies the tensor of process 0 into that of every other process.
extern "C" int statetune_group_broadcast(const Group *group, Tensor *tensor, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    c10d::BroadcastOptions options;
    options.timeout = WITHOUT_END;
    std::vector<Tensor> one{*tensor};
    group->gloo->broadcast(one, options)->wait();
  });
}

// Begins to send a tensor to process `to`, which takes what this process gives in the same order. The tensor has to stay as it is.
extern "C" int statetune_group_give(Group *group, int to, Tensor *tensor, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    group->settle(MOST_ON_THEIR_WAY - 1);
    std::vector<Tensor> one{*tensor};
    group->given.push_back(group->gloo->send(one, to, 0));
  });
}

// Waits for the next tensor from process `from`, of the same size.
extern "C" int statetune_group_take(const Group *group, int from, Tensor *tensor, char *message, size_t message_len) {
  return caught(message, message_len, [&] {
    std::vector<Tensor> one{*tensor};
    group->gloo->recv(one, from, 0)->wait(WITHOUT_END);
  });
}
