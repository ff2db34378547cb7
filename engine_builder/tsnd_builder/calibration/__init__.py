"""Snippets for INT8 calibration, sampled from the user's own videos as TSN's test samples them.

frames.py is the way in; what reads pixels imports PyAV and OpenCV and needs tsnd[calibration].

    frames -> sources             which paths are videos
           -> choosing            which of them, how much of each; skips what is broken
              -> sampling, sharing      pure: which snippets
              -> snippets               images or flow fields -> snippets
           -> videos              opens one, to count and to read
              -> video_files            -> decoding (PyAV), flow (TV-L1), resizing
              -> image_folders          -> image_files -> image_header
"""
