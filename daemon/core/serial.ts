/** Runs one thing after the other, in the order asked; a failure does not stop the next. */
export class Serial {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work);
    this.#last = result.catch(() => undefined); // whoever asked has the error; the queue goes on
    return result;
  }
}
