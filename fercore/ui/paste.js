// Pictures from the clipboard become uploads like any other: they are handed to the page's own file uploader.

const UPLOADER = '[data-testid="stFileUploaderDropzoneInput"]';

export default function ({ parentElement }) {
  const button = parentElement.querySelector("button");
  const status = parentElement.querySelector("[role=status]");
  const say = (text) => { status.textContent = text; };

  function give(pictures) {
    const input = document.querySelector(UPLOADER);
    if (!pictures.length) return say("There is no picture in the clipboard.");
    if (!input) return say("The field for photos is not there yet: wait a moment and paste again.");
    const bag = new DataTransfer();
    const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
    pictures.forEach((picture, number) => {
      const ending = picture.type.split("/")[1].replace("jpeg", "jpg");
      bag.items.add(new File([picture], `pasted ${time}${number ? ` ${number + 1}` : ""}.${ending}`, { type: picture.type }));
    });
    input.files = bag.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    say("");
  }

  function heard(event) {
    const pictures = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (!pictures.length) return;
    event.preventDefault();
    give(pictures);
  }

  async function ask() {
    if (!navigator.clipboard?.read) return say("This browser hands out no clipboard here: press Ctrl+V instead.");
    try {
      const items = await navigator.clipboard.read();
      const found = items.map((item) => [item, item.types.find((type) => type.startsWith("image/"))]).filter(([, type]) => type);
      give(await Promise.all(found.map(([item, type]) => item.getType(type))));
    } catch (error) {
      say(error.name === "NotAllowedError" ? "The browser did not allow it: press Ctrl+V instead." : "The clipboard cannot be read.");
    }
  }

  button.onclick = ask;
  document.addEventListener("paste", heard);
  return () => document.removeEventListener("paste", heard);
}
