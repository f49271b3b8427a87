// The search runs in a worker, which browsers refuse to pages opened from disk. There a hidden frame does its work.
if (location.protocol === "file:") {
  const INSIDE = `self.postMessage = data => parent.dispatchEvent(
    new CustomEvent("frame-says", { detail: { frame: window.frameElement, data } }));`;

  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.srcdoc = `<script>${INSIDE}</script><script src="${new URL(url, location.href).href}"></script>`;
      this.ready = new Promise(done => this.frame.addEventListener("load", done));
      addEventListener("frame-says", event => {
        if (event.detail.frame === this.frame) setTimeout(() => this.say(event.detail.data));
      });
      document.body.append(this.frame);
    }

    say(data) {
      const message = new MessageEvent("message", { data });
      this.dispatchEvent(message);
      this.onmessage?.(message);
    }

    postMessage(data) {
      this.ready.then(() => {
        const inside = this.frame.contentWindow;
        inside?.dispatchEvent(new inside.MessageEvent("message", { data }));
      });
    }

    terminate() {
      this.frame.remove();
    }
  };
}
