/* What only C can do for this library: EV's watchers carry fields whose layout EVAPI.h decides, and
 * EV's functions are macros over a table found at run time. ev.rs wraps each function below. */

#define PERL_NO_GET_CONTEXT
#include "EVAPI.h"
#include "perl_xs.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#ifdef __linux__
# include <linux/sockios.h>
#endif

/* Runs the handler of a watcher. */
extern void evk_dispatch (void *handler, int revents);

typedef struct {
  union {
    ev_watcher any;
    ev_io io;
    ev_timer timer;
    ev_async async;
    ev_prepare prepare;
  } w; /* first, so that EV's pointer is ours */
  struct ev_loop *loop;
  void *handler;
} evk_watcher;

enum { EVK_IO, EVK_TIMER, EVK_ASYNC, EVK_PREPARE };

/* ---- loading ---- */

/* Grows by one in every forked child. */
int evk_generation;

static void evk_forked (void) { ++evk_generation; }

/* EV keeps its classes and its default loop in variables of the library: they are those of
 * the interpreter that loaded it. */
static void *evk_interpreter;

static void *evk_current (void)
{
#ifdef PERL_IMPLICIT_CONTEXT
  return PERL_GET_THX;
#else
  return 0;
#endif
}

int evk_is_home (void) { return evk_current () == evk_interpreter; }

/* Finds EV's table: 0, or the version found (major * 1000 + minor, -1 when there is none). */
int evk_boot (void)
{
  static int hooked;
  dTHX;
  SV *api = get_sv ("EV::API", 0);

  if (!api || !SvIOK (api))
    return -1;

  GEVAPI = INT2PTR (struct EVAPI *, SvIVX (api));
  if (GEVAPI->ver != EV_API_VERSION || GEVAPI->rev < EV_API_REVISION)
    return (int) (GEVAPI->ver * 1000 + GEVAPI->rev);

  evk_interpreter = evk_current ();
  if (!hooked)
    {
      hooked = 1;
      pthread_atfork (0, 0, evk_forked);
    }
  return 0;
}

/* ---- time ---- */

/* Milliseconds of a clock that is exact to a few of them and costs next to nothing to read: it is
 * looked at once a record. */
int64_t evk_coarse_ms (void)
{
  struct timespec now;
#if defined CLOCK_MONOTONIC_COARSE
  clock_gettime (CLOCK_MONOTONIC_COARSE, &now);
#elif defined CLOCK_MONOTONIC_FAST
  clock_gettime (CLOCK_MONOTONIC_FAST, &now);
#else
  clock_gettime (CLOCK_MONOTONIC, &now);
#endif
  return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- loops ---- */

struct ev_loop *evk_default_loop (void) { return GEVAPI->default_loop; }

/* The loop of an EV::Loop object; null for anything else. */
struct ev_loop *evk_loop_of (SV *sv)
{
  dTHX;

  if (!SvROK (sv) || !SvOBJECT (SvRV (sv)) || !sv_derived_from (sv, "EV::Loop") || !SvIOK (SvRV (sv)))
    return 0;
  return INT2PTR (struct ev_loop *, SvIVX (SvRV (sv)));
}

/* ---- watchers ---- */

static void evk_fired (evk_watcher *self, int revents)
{
  dTHX;

  ENTER;
  SAVETMPS;
  evk_dispatch (self->handler, revents);
  /* The handler may have freed the watcher: self is not touched any more. An exit that Perl code
   * asked for unwinds through libev from here, where no Rust frame is left. */
#ifdef PERL_IMPLICIT_CONTEXT
  perl_xs_leave (aTHX);
#else
  perl_xs_leave (0);
#endif
  FREETMPS;
  LEAVE;
}

#define EVK_CALLBACK(type) \
  static void evk_ ## type ## _fired (struct ev_loop *loop, struct ev_ ## type *w, int revents) \
  { \
    PERL_UNUSED_VAR (loop); \
    evk_fired ((evk_watcher *) (void *) w, revents); \
  }

EVK_CALLBACK (io)
EVK_CALLBACK (timer)
EVK_CALLBACK (async)
EVK_CALLBACK (prepare)

evk_watcher *evk_new (int kind, struct ev_loop *loop, void *handler)
{
  evk_watcher *self = (evk_watcher *) calloc (1, sizeof (evk_watcher));

  if (!self)
    return 0;

  self->loop = loop;
  self->handler = handler;
  switch (kind)
    {
      case EVK_IO: ev_io_init (&self->w.io, evk_io_fired, -1, 0); break;
      case EVK_TIMER: ev_timer_init (&self->w.timer, evk_timer_fired, 0., 0.); break;
      case EVK_ASYNC: ev_async_init (&self->w.async, evk_async_fired); break;
      default: ev_prepare_init (&self->w.prepare, evk_prepare_fired); break;
    }
  return self;
}

/* In global destruction perl destroys a loop of the program's own at a time of its choosing: its
 * watchers, active or not, can neither be stopped nor be freed safely any more. */
static int evk_loop_is_gone (evk_watcher *self)
{
  dTHX;
  return PL_dirty && self->loop != EV_DEFAULT;
}

/* Frees the watcher and gives its handler back; null, and nothing freed, when its loop is gone. */
void *evk_free (evk_watcher *self, int kind)
{
  void *handler = self->handler;

  if (evk_loop_is_gone (self))
    return 0;
  switch (kind)
    {
      case EVK_IO: ev_io_stop (self->loop, &self->w.io); break;
      case EVK_TIMER: ev_timer_stop (self->loop, &self->w.timer); break;
      case EVK_ASYNC: ev_async_stop (self->loop, &self->w.async); break;
      default: ev_prepare_stop (self->loop, &self->w.prepare); break;
    }
  free (self);
  return handler;
}

void evk_io_start (evk_watcher *self, int fd, int events)
{
  ev_io *io = &self->w.io;

  if (evk_loop_is_gone (self))
    return;
  if (ev_is_active (io) && io->fd == fd && (io->events & (EV_READ | EV_WRITE)) == events)
    return;
  ev_io_stop (self->loop, io);
  ev_io_set (io, fd, events);
  if (events)
    ev_io_start (self->loop, io);
}

void evk_io_stop (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_io_stop (self->loop, &self->w.io);
}

void evk_timer_start (evk_watcher *self, double after)
{
  if (evk_loop_is_gone (self))
    return;
  ev_timer_stop (self->loop, &self->w.timer);
  ev_timer_set (&self->w.timer, after, 0.);
  ev_timer_start (self->loop, &self->w.timer);
}

void evk_timer_stop (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_timer_stop (self->loop, &self->w.timer);
}

void evk_async_start (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_async_start (self->loop, &self->w.async);
}

void evk_async_stop (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_async_stop (self->loop, &self->w.async);
}

void evk_async_send (evk_watcher *self) { ev_async_send (self->loop, &self->w.async); }

void evk_prepare_start (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_prepare_start (self->loop, &self->w.prepare);
}

void evk_prepare_stop (evk_watcher *self)
{
  if (!evk_loop_is_gone (self))
    ev_prepare_stop (self->loop, &self->w.prepare);
}

/* ---- sockets and threads ---- */

/* writev that raises no SIGPIPE: the byte count, or -errno. */
ssize_t evk_send_vectored (int fd, const struct iovec *parts, size_t count)
{
  struct msghdr message;
  ssize_t sent;
  int flags = 0;

#ifdef MSG_NOSIGNAL
  flags = MSG_NOSIGNAL;
#endif
  memset (&message, 0, sizeof (message));
  message.msg_iov = (struct iovec *) parts;
  message.msg_iovlen = count;
  do
    sent = sendmsg (fd, &message, flags);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -(ssize_t) errno : sent;
}

/* The same for one part, for which the system has less to do. */
ssize_t evk_send (int fd, const void *data, size_t len)
{
  ssize_t sent;
  int flags = 0;

#ifdef MSG_NOSIGNAL
  flags = MSG_NOSIGNAL;
#endif
  do
    sent = send (fd, data, len, flags);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -(ssize_t) errno : sent;
}

/* Whether the peer has closed its end, also when what it said before is still unread. */
int evk_peer_closed (int fd)
{
  struct pollfd look;

  memset (&look, 0, sizeof (look));
  look.fd = fd;
#ifdef POLLRDHUP
  look.events = POLLRDHUP;
  return poll (&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR));
#else
  {
    char byte;

    look.events = POLLIN;
    if (poll (&look, 1, 0) <= 0)
      return 0;
    return (look.revents & (POLLHUP | POLLERR)) || recv (fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
#endif
}

/* How many bytes were written that the peer's system has not acknowledged; -1 when that is not known. */
long evk_unacknowledged (int fd)
{
#if defined SIOCOUTQ
  int bytes;

  return ioctl (fd, SIOCOUTQ, &bytes) < 0 ? -1 : bytes;
#elif defined SO_NWRITE
  int bytes;
  socklen_t len = sizeof (bytes);

  return getsockopt (fd, SOL_SOCKET, SO_NWRITE, &bytes, &len) < 0 ? -1 : bytes;
#elif defined FIONWRITE
  int bytes;

  return ioctl (fd, FIONWRITE, &bytes) < 0 ? -1 : bytes;
#else
  return -1;
#endif
}

/* Has the system look now and then whether the peer of an idle connection still is there. */
void evk_keep_alive (int fd)
{
  int on = 1;

  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof (on));
}

/* Perl's signal handlers need an interpreter, so a thread without one must never run them: it is
 * started with every signal blocked, and the caller's mask is put back. */
static __thread sigset_t evk_mask;

void evk_block_signals (void)
{
  sigset_t all;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &evk_mask);
}

void evk_restore_signals (void) { pthread_sigmask (SIG_SETMASK, &evk_mask, 0); }
