/** How often a server that crashes is started again before the editor leaves it alone. */

export class CrashBudget {
  private readonly crashes: number[] = [];

  constructor(
    private readonly allowed = 3,
    private readonly windowMs = 180_000,
  ) {}

  /** Whether to start the server again after a crash at this time. */
  spend(nowMs: number): boolean {
    this.crashes.push(nowMs);
    while (this.crashes[0] !== undefined && this.crashes[0] <= nowMs - this.windowMs) this.crashes.shift();
    return this.crashes.length <= this.allowed;
  }
}
