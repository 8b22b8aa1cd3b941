/** The maximum of a series over a sliding window, in constant space: the three best candidates of ever younger parts (after Nichols, Linux's win_minmax). */

export class WindowedMax {
  private readonly windowLength: number;
  private best0 = 0;
  private best1 = 0;
  private best2 = 0;
  private at0 = 0;
  private at1 = 0;
  private at2 = 0;

  /** In whatever unit `update` is given as time. */
  constructor(windowLength: number) {
    this.windowLength = windowLength;
  }

  get value(): number {
    return this.best0;
  }

  update(value: number, at: number): void {
    if (value >= this.best0 || at - this.at2 > this.windowLength) {
      this.best0 = this.best1 = this.best2 = value;
      this.at0 = this.at1 = this.at2 = at;
      return;
    }
    if (value >= this.best1) {
      this.best1 = this.best2 = value;
      this.at1 = this.at2 = at;
    } else if (value >= this.best2) {
      this.best2 = value;
      this.at2 = at;
    }
    this.expire(value, at);
  }

  private expire(value: number, at: number): void {
    const age = at - this.at0;
    if (age > this.windowLength) {
      this.best0 = this.best1;
      this.at0 = this.at1;
      this.best1 = this.best2;
      this.at1 = this.at2;
      this.best2 = value;
      this.at2 = at;
      if (at - this.at0 > this.windowLength) {
        this.best0 = this.best1;
        this.at0 = this.at1;
        this.best1 = this.best2;
        this.at1 = this.at2;
      }
    } else if (this.at1 === this.at0 && age > this.windowLength / 4) {
      this.best1 = this.best2 = value;
      this.at1 = this.at2 = at;
    } else if (this.at2 === this.at1 && age > this.windowLength / 2) {
      this.best2 = value;
      this.at2 = at;
    }
  }
}
