// A manifest as types, generated from plugin.schema.json by devops/gen.ts: do not edit.

/**
 * What a plugin is and how to run it: plugin.yaml.
 */
export interface Manifest {
  /**
   * Name of the plugin.
   */
  name?: string;
  /**
   * Version of the plugin.
   */
  version?: string;
  /**
   * One sentence for people.
   */
  description?: string;
  /**
   * Command (argv) run once per content of the folder, inside a copy of it.
   *
   * @minItems 1
   */
  install?: string[];
  /**
   * Command (argv). Placeholders: {port}, {data}, {models.ROLE}, {models.ROLE.name}, {config.KEY}. A nested list is an optional group: it is left out when a placeholder in it has no value.
   *
   * @minItems 1
   */
  run: (string | string[])[];
  /**
   * When the process counts as ready.
   */
  ready?: {
    /**
     * Path that answers 2xx when ready.
     */
    http?: string;
    /**
     * Longest time from start to ready.
     */
    timeout?: string;
  };
  /**
   * Opt-in liveness: a process that fails it is restarted.
   */
  live?: {
    /**
     * Path that answers 2xx while alive.
     */
    http: string;
    /**
     * Failed probes in a row before the restart.
     */
    failures?: number;
  };
  /**
   * How it is asked to finish.
   */
  stop?: {
    /**
     * Signal that means finish.
     */
    signal?: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
    /**
     * Longest wait for requests in flight before the signal.
     */
    drain?: string;
    /**
     * Longest wait after the signal before SIGKILL.
     */
    grace?: string;
  };
  /**
   * Capabilities it asks to call on the bus.
   */
  calls?: string[];
  /**
   * What it can do, by capability id (llm.chat, brainml.query …).
   */
  capabilities?: {
    [k: string]: {
      /**
       * Method and path on the plugin's port.
       */
      http: string;
      description?: string;
      /**
       * JSON Schema of the request body.
       */
      input?: {
        [k: string]: unknown;
      };
      /**
       * JSON Schema of the answer.
       */
      output?: {
        [k: string]: unknown;
      };
      /**
       * May answer as a stream.
       */
      stream?: boolean;
      limits?: {
        requestsPerMinute?: number;
        concurrent?: number;
      };
    };
  };
  /**
   * JSON Schema of the settings; `x-apply: live` marks those that need no restart.
   */
  config?: {
    [k: string]: unknown;
  };
  /**
   * Roles that models can fill.
   */
  models?: {
    [k: string]: {
      description?: string;
      /**
       * File format it accepts.
       */
      format?: 'gguf' | 'safetensors' | 'onnx' | 'any';
      /**
       * The plugin cannot start without it.
       */
      required?: boolean;
      /**
       * Capabilities this model answers. Absent: all.
       */
      serves?: string[];
    };
  };
  /**
   * Route with figures of its own, a flat JSON object of numbers.
   */
  telemetry?: {
    http: string;
  };
}
