// How does the page stay beside a running session? Events by REST up to now, then live; lost nothing, doubled nothing.
import { api, control, event, people, Refused } from "./api";
import type { Ev, Live } from "./types";
import type { Room } from "./room";

const WAITS_MS = [300, 1000, 2000, 5000, 10000];
const PING_MS = 20000;
const SILENT_MS = 60000;
const SOCKET_TRIES = 3; // after so many sockets that never opened, server-sent events are tried

export class Connection {
  private socket: WebSocket | null = null;
  private source: EventSource | null = null;
  private timer = 0;
  private ping = 0;
  private tries = 0;
  private neverOpened = 0;
  private closed = false;
  private heard = 0;
  private filling: Promise<void> | null = null;
  private held: Ev[] = []; // came live while older ones were being fetched

  constructor(private room: Room) {
    addEventListener("online", this.wake);
    addEventListener("offline", this.sleep);
    document.addEventListener("visibilitychange", this.wake);
    void this.open();
  }

  close(): void {
    this.closed = true;
    removeEventListener("online", this.wake);
    removeEventListener("offline", this.sleep);
    document.removeEventListener("visibilitychange", this.wake);
    clearTimeout(this.timer);
    clearInterval(this.ping);
    this.drop();
  }

  // Where this person looks: presence for the others, no authority.
  at(seq: number): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ t: "at", seq }));
  }

  // For tests and for the menu: cut the line as a bad network would.
  cut(): void {
    this.socket?.close();
    this.source?.close();
    if (this.source) this.lost();
  }

  // Fetch everything once more, beside the live line.
  refill(): void {
    void this.fill().catch(() => this.cut());
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onclose = socket.onmessage = socket.onopen = socket.onerror = null;
      socket.close();
    }
    this.source?.close();
    this.source = null;
  }

  private wake = (): void => {
    if (this.closed || document.visibilityState === "hidden") return;
    const live = this.socket?.readyState === WebSocket.OPEN || this.source?.readyState === EventSource.OPEN;
    if (!live && this.room.link !== "ended") {
      clearTimeout(this.timer);
      void this.open();
    }
  };

  private sleep = (): void => {
    if (this.closed) return;
    this.drop();
    this.room.setLink("offline");
  };

  private fill(): Promise<void> {
    this.filling ??= this.catchUp().then(
      () => {
        this.filling = null;
        this.room.take(this.held.splice(0));
      },
      (error) => {
        this.filling = null;
        this.held = []; // after a gap nothing may be taken: the next connection begins before it
        throw error;
      },
    );
    return this.filling;
  }

  private async catchUp(): Promise<void> {
    for (;;) {
      const asked = this.room.last;
      const got = await api.events(this.room.id, asked);
      const before = this.room.last;
      if (asked !== before) continue; // forgotten meanwhile: begin again
      this.room.take(got.events);
      this.room.reached(got.events.length, got.last);
      if (!got.more || this.room.last === before || this.closed) return;
    }
  }

  private async open(): Promise<void> {
    if (this.closed) return;
    this.drop();
    this.room.setLink(this.tries ? "reconnecting" : "connecting");
    try {
      await this.room.refresh();
      await this.fill();
    } catch (error) {
      if (this.closed) return;
      const refused = error instanceof Refused && error.status >= 400 && error.status < 500 && error.status !== 429;
      if (refused) return this.room.refuse(error as Refused);
      if (error instanceof Refused && error.status >= 500) this.room.refusal = { what: error.what, why: error.why, fix: error.fix };
      return this.lost();
    }
    if (this.closed) return;
    this.room.refusal = null;
    if (this.neverOpened >= SOCKET_TRIES) this.stream();
    else this.connect();
  }

  private connect(): void {
    const socket = new WebSocket(api.liveUrl(this.room.id, this.room.last));
    let opened = false;
    this.socket = socket;
    socket.onopen = () => {
      opened = true;
      this.neverOpened = 0;
      this.heard = Date.now();
      clearInterval(this.ping);
      this.ping = window.setInterval(() => {
        if (Date.now() - this.heard > SILENT_MS) return socket.close();
        if (socket.readyState === WebSocket.OPEN) socket.send('{"t":"ping"}');
      }, PING_MS);
    };
    socket.onmessage = (m) => {
      this.heard = Date.now();
      this.hear(m.data);
    };
    socket.onclose = () => {
      clearInterval(this.ping);
      if (!opened) this.neverOpened++;
      if (this.socket === socket) {
        this.socket = null;
        this.lost();
      }
    };
  }

  private stream(): void {
    const source = new EventSource(api.streamUrl(this.room.id, this.room.last));
    this.source = source;
    source.onmessage = (m) => this.hear(m.data);
    source.onopen = () => this.settled();
    source.onerror = () => {
      source.close();
      this.neverOpened = 0;
      this.lost();
    };
  }

  private settled(): void {
    this.tries = 0;
    this.room.setLink("live");
  }

  private hear(data: unknown): void {
    let m: Live;
    try {
      m = JSON.parse(String(data)) as Live;
    } catch {
      return;
    }
    switch (m.t) {
      case "hello":
        this.settled();
        this.room.hello(m.role, people(m.people), control(m.control));
        break;
      case "event":
        if (this.filling) this.held.push(event(m.e));
        else this.room.take([event(m.e)]);
        break;
      case "people":
        this.room.setPeople(people(m.people));
        break;
      case "control":
        this.room.setControl(control(m));
        break;
      case "resync":
        void this.fill().catch(() => this.cut());
        break;
      case "bye":
        this.drop();
        clearInterval(this.ping);
        this.room.goodbye(m.why, m.fix ?? "");
        if (/server|restart|stop/i.test(m.why)) this.lost();
        break;
    }
  }

  private lost(): void {
    if (this.closed || this.room.link === "ended") return;
    this.room.setLink(navigator.onLine ? "reconnecting" : "offline");
    const wait = WAITS_MS[Math.min(this.tries++, WAITS_MS.length - 1)] ?? 10000;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.open(), wait * (0.8 + Math.random() * 0.4));
  }
}
