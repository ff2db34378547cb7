"""Where frames come from: video files, folders of images, cameras, pipes; see `base`."""
