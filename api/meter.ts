// Figures for Prometheus: the process, every plugin as the snapshot has it, and the requests of the control plane.
import type { Context, Next } from 'koa';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { PluginView, Reconciler } from '../reconciler/index.ts';

/** From a look at memory to the longest wait a client may ask for. */
const BUCKETS_S = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 30, 120];

export type Meter = {
  readonly middleware: (context: Context, next: Next) => Promise<void>;
  readonly text: () => Promise<string>;
  readonly contentType: string;
  readonly close: () => void;
};

/** One registry per appliance: two in one process must not mix. */
export function openMeter(reconciler: Reconciler): Meter {
  const register = new Registry();
  collectDefaultMetrics({ register });
  pluginFigures(register, reconciler);
  houseFigures(register, reconciler);
  const labelNames = ['method', 'route', 'status'] as const;
  const requests = new Counter({ name: 'bkg_http_requests_total', help: 'Requests of the control plane.', labelNames, registers: [register] });
  const durations = new Histogram({ name: 'bkg_http_request_duration_seconds', help: 'Time to answer a request of the control plane.', labelNames: ['method', 'route'], buckets: BUCKETS_S, registers: [register] });
  return {
    async middleware(context, next) {
      const end = durations.startTimer();
      await next();
      // The pattern, not the path: paths are without end.
      const route = (context as Context & { readonly _matchedRoute?: unknown })._matchedRoute;
      const labels = { method: context.method, route: typeof route === 'string' ? route : 'none' };
      end(labels);
      requests.inc({ ...labels, status: String(context.status) });
    },
    text: () => register.metrics(),
    contentType: register.contentType,
    close: () => register.clear(),
  };
}

type Figure = { readonly name: string; readonly help: string; readonly of: (plugin: PluginView) => number | null };

const GAUGES: readonly Figure[] = [
  { name: 'bkg_plugin_cpu_percent', help: 'Per cent of one core over the last second.', of: (plugin) => plugin.telemetry.cpu },
  { name: 'bkg_plugin_memory_bytes', help: 'Resident bytes of the process group.', of: (plugin) => plugin.telemetry.mem },
  { name: 'bkg_plugin_uptime_seconds', help: 'Seconds since the process was ready.', of: (plugin) => plugin.telemetry.uptime },
  { name: 'bkg_plugin_requests_in_flight', help: 'Requests it is answering now.', of: (plugin) => plugin.telemetry.inFlight },
  { name: 'bkg_plugin_throughput_per_second', help: 'Requests a second over the last ten seconds.', of: (plugin) => plugin.telemetry.throughput },
];
const COUNTERS: readonly Figure[] = [
  { name: 'bkg_plugin_requests_total', help: 'Requests since bkg started.', of: (plugin) => plugin.telemetry.requests },
  { name: 'bkg_plugin_errors_total', help: 'Failed requests since bkg started.', of: (plugin) => plugin.telemetry.errors },
  { name: 'bkg_plugin_restarts_total', help: 'Restarts of the process.', of: (plugin) => plugin.telemetry.restarts },
];

function pluginFigures(register: Registry, reconciler: Reconciler): void {
  const labelNames = ['plugin'];
  for (const { name, help, of } of GAUGES) {
    new Gauge({ name, help, labelNames, registers: [register], collect() {
      this.reset();
      for (const plugin of reconciler.snapshot().plugins) {
        const value = of(plugin);
        if (value !== null) this.set({ plugin: plugin.id }, value);
      }
    } });
  }
  for (const { name, help, of } of COUNTERS) {
    new Counter({ name, help, labelNames, registers: [register], collect() {
      this.reset();
      for (const plugin of reconciler.snapshot().plugins) this.inc({ plugin: plugin.id }, of(plugin) ?? 0);
    } });
  }
  new Gauge({ name: 'bkg_plugin_status', help: '1 for the status a plugin has.', labelNames: ['plugin', 'status'], registers: [register], collect() {
    this.reset();
    for (const plugin of reconciler.snapshot().plugins) this.set({ plugin: plugin.id, status: plugin.status }, 1);
  } });
  new Gauge({ name: 'bkg_plugin_own', help: 'Figures a plugin reports of itself.', labelNames: ['plugin', 'figure'], registers: [register], collect() {
    this.reset();
    for (const plugin of reconciler.snapshot().plugins) {
      for (const [figure, value] of Object.entries(plugin.telemetry.own)) this.set({ plugin: plugin.id, figure }, value);
    }
  } });
}

function houseFigures(register: Registry, reconciler: Reconciler): void {
  const gauge = (name: string, help: string, of: () => number): void => {
    new Gauge({ name, help, registers: [register], collect() { this.set(of()); } });
  };
  gauge('bkg_converged', '1 when nothing is left to do.', () => (reconciler.snapshot().plan.converged ? 1 : 0));
  gauge('bkg_drifts', 'Differences between what is declared and what is.', () => reconciler.snapshot().drifts.length);
  gauge('bkg_config_valid', '1 when bkg.yaml on disk is valid.', () => (reconciler.snapshot().file.valid ? 1 : 0));
  new Gauge({ name: 'bkg_model_bytes', help: 'Bytes of a model on this machine.', labelNames: ['model', 'phase'], registers: [register], collect() {
    this.reset();
    for (const model of reconciler.snapshot().models) this.set({ model: model.id, phase: model.phase }, model.bytes);
  } });
}
