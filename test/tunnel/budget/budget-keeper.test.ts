import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BudgetFile } from '../../../src/tunnel/budget/budget-file.js';
import { BudgetKeeper } from '../../../src/tunnel/budget/budget-keeper.js';
import type { PathConfig } from '../../../src/tunnel/config.js';
import { describeEvent } from '../../../src/tunnel/events.js';
import type { PathLink, PeerLink } from '../../../src/tunnel/link.js';

const MB = 1e6;
const START_MS = new Date(2027, 3, 11).getTime();

const BUDGETED: PathConfig = { name: 'lte', interface: 'wwan0', address: undefined, budget: { bytes: 3000 * MB, period: 'month' } };

const folder = (): string => mkdtempSync(join(tmpdir(), 'mptunnel-budget-'));

/** A client with one path and a budget, over a real file. */
class World {
  config: PathConfig[];
  path = { name: 'lte', carriedBytes: 0 } as { -readonly [K in keyof PathLink]: PathLink[K] };
  readonly told: string[] = [];
  readonly warnings: string[] = [];
  readonly file: BudgetFile;
  keeper: BudgetKeeper;
  nowMs = 0;

  constructor(t: Test, directory: string, config = [BUDGETED]) {
    this.config = config;
    t.teardown(async () => {
      await this.keeper.close();
      rmSync(directory, { recursive: true, force: true });
    });
    this.file = new BudgetFile('mpt0', (message) => this.warnings.push(message), directory);
    this.keeper = this.start();
  }

  /** As after a crash: what was not written is gone. */
  start(): BudgetKeeper {
    this.path = { ...this.path, carriedBytes: 0 };
    this.keeper = new BudgetKeeper({
      paths: () => this.config,
      peers: () => [{ initiator: true, paths: [this.path] } as unknown as PeerLink],
      restrict: (name, restriction, reason) => this.told.push(`${name} ${restriction} ${reason}`.trim()),
      emit: (event) => this.told.push(describeEvent(event)),
      file: this.file,
      wallMs: () => START_MS + this.nowMs,
      nowMs: () => this.nowMs,
    });
    this.keeper.tick();
    return this.keeper;
  }

  carry(bytes: number): void {
    this.path.carriedBytes = (this.path.carriedBytes ?? 0) + bytes;
    this.nowMs += 1000;
    this.keeper.tick();
  }

  get used(): number | undefined {
    return this.keeper.status('lte')?.usedBytes;
  }

  /** Until the file says so. */
  async written(usedBytes: number): Promise<void> {
    for (let i = 0; i < 500; i++) {
      // While one writing is under way the next is left out.
      this.keeper.tick();
      if (existsSync(this.file.path) && readFileSync(this.file.path, 'utf8').includes(`"usedBytes": ${usedBytes}`)) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${usedBytes} was not written: ${readFileSync(this.file.path, 'utf8')}`);
  }
}

t.test('a path is held back when it runs ahead, and again when its budget is spent', async (t) => {
  const world = new World(t, folder());
  world.carry(1000 * MB);
  t.same(world.told, [], 'as much as is due');
  world.carry(200 * MB);
  t.same(world.told.splice(0), [
    'lte backup',
    'path lte: 1.20 GB used of its budget of 3 GB/month: backup until the calendar has caught up',
  ]);
  t.match(world.keeper.status('lte'), { state: 'ahead', usedBytes: 1200 * MB, bytes: 3000 * MB });
  t.equal(Math.round(world.keeper.status('lte')!.dueBytes / MB), 1000);
  world.carry(2000 * MB);
  t.same(world.told, [], 'spent: a backup still');
  world.config = [{ ...world.config[0]!, budgetSpent: 'off' }];
  world.carry(0);
  t.same(world.told.splice(0), [
    'lte off its budget is spent',
    'path lte: 3.20 GB used of its budget of 3 GB/month: off until the month ends',
  ]);
  world.config = [{ ...world.config[0]!, budget: { bytes: 0, period: 'month' } }];
  world.carry(0);
  t.same(world.told.splice(0), ['lte none'], 'no budget, no restriction');
  t.equal(world.keeper.status('lte'), undefined);
});

t.test('the count is on the disk within seconds, and a crash loses no more than that', async (t) => {
  const world = new World(t, join(folder(), 'not', 'there', 'yet'));
  world.carry(20 * MB);
  for (let i = 0; i < 5; i++) world.carry(0);
  await world.written(20 * MB);
  t.equal(statSync(world.file.path).mode & 0o777, 0o600);
  world.carry(MB);
  world.start();
  t.equal(world.used, 20 * MB, 'what was carried in the last second is lost');
  world.carry(5 * MB);
  world.path = { ...world.path, carriedBytes: 0 };
  world.carry(2 * MB);
  t.equal(world.used, 27 * MB, 'a path that was made anew counts from nothing');
  await world.keeper.close();
  await world.written(27 * MB);
  world.start();
  t.equal(world.used, 27 * MB, 'an orderly end loses nothing');
});

t.test('a path that was removed and added again has what it had', async (t) => {
  const world = new World(t, folder());
  const [lte] = world.config;
  world.carry(10 * MB);
  world.path.carriedBytes! += MB;
  world.keeper.handlePathRemoved(world.path);
  world.config = [];
  const gone = world.path;
  world.path = { name: 'other', carriedBytes: 0 } as PathLink;
  world.carry(0);
  t.equal(world.used, undefined);
  world.config = [lte!];
  world.path = { ...gone, carriedBytes: 0 };
  world.carry(0);
  t.equal(world.used, 11 * MB);
});

t.test('without a budget there is no file; a damaged one is put aside, and told', async (t) => {
  const directory = folder();
  const world = new World(t, directory, []);
  world.carry(MB);
  await world.keeper.close();
  t.same(readdirSync(directory), []);
  const file = join(directory, 'mpt0.budgets.json');
  writeFileSync(file, '{"version":1,"paths":{"lte":');
  world.config = [BUDGETED];
  world.start();
  t.equal(world.used, 0);
  t.match(world.warnings, [/is damaged: it lies in .*damaged now/]);
  t.ok(existsSync(`${file}.damaged`));
});

t.test('a directory that cannot be written is told once', async (t) => {
  const directory = join(folder(), 'file');
  writeFileSync(directory, '');
  const world = new World(t, directory);
  for (let i = 0; i < 12; i++) {
    world.carry(MB);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await world.keeper.close();
  t.equal(world.warnings.filter((message) => message.includes('MPTUNNEL_STATE_DIR')).length, 1);
});
