// What may stand between a browser and the gateway: a proxy, under a prefix or not. It can also do what happens there on a bad day.

import { once } from "node:events";
import http from "node:http";

export class Relay {
  // All of the gateway, and below `prefix` alone.
  static async start(gateway, prefix = "/") {
    const relay = new Relay();
    Object.assign(relay, { gateway, prefix, strays: [], streams: 0, news: 0, mood: "well" });
    relay.server = http.createServer((request, response) => relay.#pass(request, response));
    await relay.#listen(0);
    relay.port = relay.server.address().port;
    relay.base = `http://127.0.0.1:${relay.port}${prefix}`;
    return relay;
  }

  // `well`; `silent`: it takes everything, and answers nothing; `502`: as a proxy says that there is no gateway; `streams`: the same, but streams
  // that are open go on; `refuses`: nobody listens, as when the gateway was killed.
  async becomes(mood) {
    const { mood: was } = this;
    this.mood = mood;
    if (mood === "refuses") this.server.close();
    if (!["silent", "streams"].includes(mood) && was !== "streams") this.server.closeAllConnections();
    if (was === "refuses" && mood !== "refuses") await this.#listen(this.port);
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }

  async #listen(port) {
    this.server.listen(port, "127.0.0.1");
    await once(this.server, "listening");
  }

  #pass(request, response) {
    if (this.mood === "silent") return;
    if (["502", "streams"].includes(this.mood)) {
      response.writeHead(502, { "content-type": "text/html" }).end("<h1>502 Bad Gateway</h1>");
      return;
    }
    if (!request.url.startsWith(this.prefix)) {
      this.strays.push(["out of the prefix", request.url]);
      response.writeHead(404).end();
      return;
    }
    const options = { method: request.method, headers: request.headers };
    const upstream = http.request(`${this.gateway}/${request.url.slice(this.prefix.length)}`, options, (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      if (answer.headers["content-type"]?.includes("event-stream")) this.#count(answer, response);
      answer.on("data", (data) => this.mood === "silent" || response.write(data));
      answer.on("end", () => this.mood === "silent" || response.end());
      answer.on("error", () => response.destroy());
    });
    upstream.on("error", () => response.destroy());
    response.on("close", () => upstream.destroy());
    request.pipe(upstream);
  }

  // Streams that are open, and what came on them.
  #count(answer, response) {
    this.streams += 1;
    answer.on("data", (data) => (this.news += data.includes("data:")));
    response.on("close", () => (this.streams -= 1));
    // Who opens a stream is to know that it is open, though nothing has come on it.
    response.flushHeaders();
  }
}
