// Says in words how each plugin and model is doing and why: conditions for people, reasons for machines.
import { specHashOf } from './diff.ts';
import { slotOf, unitOfSlot } from './names.ts';
import { isCrashLooping } from './settle.ts';
import type { Action, Condition, Desired, DesiredModel, DesiredPlugin, History, Monotonic_ms, Observed, ObservedModel, ObservedProcess, Plan, PluginStatus } from './types.ts';

export type Finding = Omit<Condition, 'since' | 'revision'>;
export type Explanation = { readonly status: PluginStatus; readonly conditions: readonly Finding[] };
export type ExplainInput = { readonly desired: Desired; readonly observed: Observed; readonly plan: Plan; readonly now: Monotonic_ms };

const finding = (type: string, status: boolean, said: readonly [reason: string, message: string]): Finding =>
  ({ type, status: status ? 'True' : 'False', reason: said[0], message: said[1] });

const seconds = (span_ms: number): string => `${Math.max(0, Math.round(span_ms / 1000))} s`;

/** Looks up what a plan says of each unit once, then explains plugin after plugin. */
export function explainPlugins(input: ExplainInput): ReadonlyMap<string, Explanation> {
  const actions = new Map(input.plan.actions.map((action) => [action.unit, action]));
  const processes = new Map(input.observed.processes.map((process) => [process.slot, process]));
  return new Map(input.desired.plugins.map((plugin) => {
    const slot = slotOf(plugin.id);
    return [plugin.id, explainPlugin(input, { plugin, process: processes.get(slot), action: actions.get(unitOfSlot(slot)) })];
  }));
}

type Subject = { readonly plugin: DesiredPlugin; readonly process: ObservedProcess | undefined; readonly action: Action | undefined };

function explainPlugin(input: ExplainInput, subject: Subject): Explanation {
  const { plugin, process, action } = subject;
  const history = input.observed.histories[slotOf(plugin.id)];
  const ready = process === undefined ? explainMissing(input, { plugin, action, history }) : explainLive(process, action);
  const conditions = [ready.condition, explainSync(action)];
  const stalled = ready.condition.reason === 'Stalled';
  if (history !== undefined && !stalled && isCrashLooping(history, input.now) && isOfSpec(input, { plugin, history })) conditions.push(explainLoop(history, ready.status === 'running'));
  const damaged = explainDamage(input, plugin);
  if (damaged !== null) conditions.push(damaged);
  const limits = process === undefined ? null : explainLimits(plugin, process);
  if (limits !== null) conditions.push(limits);
  return { status: ready.status, conditions };
}

/** What another spec failed at says nothing of this one. */
const isOfSpec = (input: ExplainInput, of: { readonly plugin: DesiredPlugin; readonly history: History }): boolean =>
  of.history.lastFailure == null || of.history.lastFailure.specHash === specHashOf(of.plugin, input.observed.models);

type Readiness = { readonly status: PluginStatus; readonly condition: Finding };

function explainLive(process: ObservedProcess, action: Action | undefined): Readiness {
  const is = (status: PluginStatus, ready: boolean, said: readonly [string, string]): Readiness => ({ status, condition: finding('Ready', ready, said) });
  switch (process.phase) {
    case 'ready': return is('running', true, ['Ready', process.adopted ? 'It answers; it was taken over running.' : 'It answers.']);
    case 'starting': return is('starting', false, ['Starting', `It has started and is not ready yet (${process.probe ?? 'no answer so far'}).`]);
    case 'unready': return is('error', false, ['Unhealthy', `Its health check fails (${process.probe ?? 'no answer'}); requests wait until it answers again.`]);
    case 'draining': return is('stopping', false, ['Draining', `Requests in flight are finishing before it stops${because(action)}.`]);
    case 'stopping': return is('stopping', false, ['Stopping', `It was asked to finish${because(action)}.`]);
  }
}

const because = (action: Action | undefined): string => (action === undefined ? '' : `: ${action.because}`);

function explainMissing(input: ExplainInput, subject: { readonly plugin: DesiredPlugin; readonly action: Action | undefined; readonly history: History | undefined }): Readiness {
  const { plugin, action, history } = subject;
  const is = (status: PluginStatus, said: readonly [string, string]): Readiness => ({ status, condition: finding('Ready', false, said) });
  if (action === undefined) {
    if (plugin.state === 'ondemand') return is('stopped', ['Asleep', 'It starts with the first request.']);
    if (plugin.state === 'stopped') return is('stopped', ['Stopped', `It is declared stopped; \`bkg start ${plugin.id}\` starts it.`]);
    return is('stopped', ['NotHealed', 'No process runs, and the drift policy does not start one.']);
  }
  const install = plugin.install === null ? undefined : input.observed.installs[plugin.package.contentHash];
  if (action.do === 'install' || install?.phase === 'installing') return is('starting', ['Installing', install?.message || 'Its install is running.']);
  if (install?.phase === 'failed') return is('error', ['InstallFailed', `Its install failed: ${install.message}${again(input, install.retry)}`]);
  const model = plugin.models.find((role) => role.model !== null && input.observed.models[role.model]?.phase !== 'present')?.model;
  if (model !== undefined && model !== null) return explainMissingModel(input, model);
  if (action.do === 'start') return is('starting', ['Starting', 'It is being started.']);
  if (history?.stalled != null && history.stalled.specHash === specHashOf(plugin, input.observed.models)) {
    return is('error', ['Stalled', `It cannot run: ${history.stalled.reason}. Change its declaration, or restart it once the cause is mended.`]);
  }
  if (history !== undefined && history.lastFailure !== null && action.do === 'wait' && action.until !== null) return is('error', failing(input, history));
  if (action.do === 'wait' && action.inVain === true) return is('error', ['NoRoom', `It cannot start: ${action.because}.`]);
  return is('starting', ['Waiting', `It waits: ${action.because}.`]);
}

function failing(input: ExplainInput, history: History): readonly [string, string] {
  const reason = isCrashLooping(history, input.now) ? 'CrashLooping' : 'BackOff';
  const times = history.failures.length;
  return [reason, `It failed${times > 1 ? ` ${times} times within ten minutes, last` : ''}: ${history.lastFailure?.why ?? 'nobody knows why'}${again(input, history.notBefore)} Its log may say more.`];
}

function explainMissingModel(input: ExplainInput, name: string): Readiness {
  const model = input.observed.models[name];
  if (model?.phase === 'failed') return { status: 'error', condition: finding('Ready', false, ['ModelFailed', `Its model ${name} could not be fetched: ${model.message}${again(input, model.retry)}`]) };
  return { status: 'starting', condition: finding('Ready', false, ['ModelMissing', `It waits for its model ${name}${progress(model)}.`]) };
}

const progress = (model: { readonly bytes: number; readonly bytesTotal: number | null } | undefined): string =>
  model === undefined || model.bytesTotal === null || model.bytesTotal === 0 ? '' : ` (${Math.floor((100 * model.bytes) / model.bytesTotal)} %)`;

const again = (input: ExplainInput, at: Monotonic_ms | null): string =>
  at === null ? '. Mend the cause, then restart it.' : `; next try in ${seconds(at - input.now)}.`;

const explainLoop = (history: History, isUp: boolean): Finding =>
  finding('CrashLooping', true, ['CrashLooping', `It failed ${history.failures.length} times within ten minutes, last: ${history.lastFailure?.why ?? 'nobody knows why'}; ${isUp ? 'now it runs' : 'it is tried again at the longest delay'}.`]);

function explainSync(action: Action | undefined): Finding {
  if (action === undefined) return finding('Synced', true, ['InSync', 'It is as declared.']);
  return finding('Synced', false, [action.drift, `${action.do === 'wait' ? 'It waits' : action.do}: ${action.because}.`]);
}

function explainLimits(plugin: DesiredPlugin, process: ObservedProcess): Finding | null {
  if (plugin.memory_bytes === null && plugin.cpu_percent === null) return null;
  const how = process.limitsEnforcedBy === 'cgroup' ? 'the kernel (cgroup v2)' : 'bkg, which looks each second and restarts it above its memory limit; the share of CPU is watched, not capped';
  return { ...finding('LimitsEnforced', true, ['Enforced', `Its limits are kept by ${how}.`]) };
}

/** What runs goes on with what it has loaded, and a new process takes the good bytes. */
function explainDamage(input: ExplainInput, plugin: DesiredPlugin): Finding | null {
  const bad = plugin.models.flatMap((role) => { const model = role.model === null ? undefined : input.observed.models[role.model]; return model?.damaged == null ? [] : [model]; })[0];
  return bad === undefined ? null : finding('ModelsVerified', false, ['ModelDamaged', `Its model ${bad.name} is damaged: ${bad.damaged}. A new process starts as soon as good bytes are here.`]);
}

/** Of one model. */
export function explainModel(input: ExplainInput, model: DesiredModel): readonly Finding[] {
  const found = input.observed.models[model.name];
  const current = found !== undefined && found.sourceHash === model.sourceHash ? found : undefined;
  return [explainAvailable(input, model, current), ...(current === undefined ? [] : explainVerified(current, model.source.kind === 'file'))];
}

/** Whether all of its bytes are those that they should be, and when that was looked at. */
function explainVerified(current: ObservedModel, isOwn: boolean): readonly Finding[] {
  if (current.damaged !== null) return [finding('Verified', false, ['Damaged', `${current.damaged}. ${isOwn ? 'Write the file anew.' : 'It is brought anew.'}`])];
  const checking = current.checking === null ? '' : ` It is being checked (${current.bytes === 0 ? 0 : Math.floor((100 * current.checking) / current.bytes)} %).`;
  if (current.phase !== 'present') return [];
  return [finding('Verified', true, ['Hashed', `${current.verified === null ? 'Its size and time are those of the file that was hashed.' : `All of its bytes were hashed at ${current.verified}.`}${checking}`])];
}

function explainAvailable(input: ExplainInput, model: DesiredModel, current: ObservedModel | undefined): Finding {
  if (model.state === 'absent') return finding('Available', false, ['Absent', 'It is declared absent.']);
  if (current?.phase === 'present') return finding('Available', true, ['Present', 'Its bytes are here and verified.']);
  if (current?.phase === 'fetching') return finding('Available', false, ['Fetching', `It is being fetched${progress(current)}.`]);
  if (current?.phase === 'failed') return finding('Available', false, [current.reason, `${current.message}${again(input, current.retry)}`]);
  return finding('Available', false, model.state === 'ondemand' ? ['OnDemand', 'It is fetched when first wanted.'] : ['Missing', 'It is not here yet.']);
}
