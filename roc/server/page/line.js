// The queue of requests: a few at a time, a pause when the server is busy, and no request is lost.

const TRIES = { broken: 3, away: 4, busy: 10 };

/**
 * Runs jobs `{run(signal), waits(), done(result), failed(error, again), first}`, `width` at a time, those with `first`
 * before the others. A job whose request may succeed later goes back to the front; after a few tries it fails, with
 * `again` true: the user may try once more.
 *
 * onHold: called with {kind, wait, message} when the line pauses, with null when it goes on.
 * isAway: called after a request that nobody answered; resolves to whether the server does not answer at all.
 */
export class Line {
  #waiting = { first: [], later: [] };
  #running = new Map();
  #timer = null;
  #held = null;
  #unanswered = 0;

  constructor(width, { onHold, isAway }) {
    this.width = width;
    this.onHold = onHold;
    this.isAway = isAway;
  }

  get held() {
    return this.#held;
  }

  add(job) {
    job.tries = 0;
    (job.first ? this.#waiting.first : this.#waiting.later).push(job);
    this.#go();
  }

  /** Removes the jobs for which `which(job)` is true, and stops those that are running. */
  drop(which) {
    for (const part of ["first", "later"]) this.#waiting[part] = this.#waiting[part].filter((job) => !which(job));
    for (const [job, stop] of this.#running) if (which(job)) stop.abort();
  }

  /** Pauses for `wait` seconds; 0 = until `release`. */
  hold(kind, wait, message) {
    if (this.#held?.kind === "key") return;
    clearTimeout(this.#timer);
    this.#held = { kind, wait, message };
    if (wait) this.#timer = setTimeout(() => this.release(), wait * 1000);
    this.onHold(this.#held);
  }

  release() {
    clearTimeout(this.#timer);
    if (!this.#held) return;
    this.#held = null;
    this.onHold(null);
    this.#go();
  }

  #go() {
    while (!this.#held && this.#running.size < this.width) {
      const job = this.#waiting.first.shift() ?? this.#waiting.later.shift();
      if (!job) return;
      this.#run(job);
    }
  }

  async #run(job) {
    const stop = new AbortController();
    this.#running.set(job, stop);
    try {
      const result = await job.run(stop.signal);
      this.#unanswered = 0;
      job.done(result);
    } catch (error) {
      await this.#failed(job, error, stop.signal);
    } finally {
      this.#running.delete(job);
      this.#go();
    }
  }

  async #failed(job, error, signal) {
    if (error.kind === "stopped" || signal.aborted) return;
    const away = error.kind === "away" && (await this.isAway());
    if (signal.aborted) return;
    if (error.kind === "key") this.hold("key", 0, error.message);
    else if (error.kind === "busy")
      this.hold("busy", Math.max(error.wait, Math.min(30, 2 ** job.tries)), error.message);
    else if (away) this.hold("away", Math.min(30, 2 ** ++this.#unanswered), error.message);
    if (error.kind === "away" && !away) error.message = "The server gave no answer to this photo.";
    if (error.kind !== "key" && !away) job.tries += 1;
    if (error.kind === "key" || away || job.tries < (TRIES[error.kind] ?? 0)) {
      job.waits?.();
      (job.first ? this.#waiting.first : this.#waiting.later).unshift(job);
    } else job.failed(error, error.kind in TRIES);
  }
}
