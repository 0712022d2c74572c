"""Slow plain twin of kernels/linux/nommu.py: address spaces as lists, regions as objects, pages as a set.

Written from the description of mm/nommu.c. It does not choose pages: it is told the address the kernel got,
and objects if those pages could not have been given. It knows no slab objects, no tree and no order of steps.
"""

ENOMEM, EINVAL = 12, 22


class RefusedError(Exception):
    """The call fails with this errno and has no effect."""


class Region:
    def __init__(self, first, pages, held, file, pgoff):
        self.first, self.pages, self.held = first, pages, held  # page numbers; held >= pages
        self.file, self.pgoff = file, pgoff
        self.shareable = file is not None


class Vma:
    def __init__(self, first, last, region, pgoff):
        self.first, self.last = first, last  # pages [first, last)
        self.region, self.pgoff = region, pgoff


def blocks_of(pages):
    order = 0
    while 2**order < pages:
        order += 1
    return 2**order


class TwinNommu:
    def __init__(self, free_pages, trim_pages):
        self.free = set(free_pages)
        self.trim_pages = trim_pages
        self.spaces = {}

    def regions(self):
        unique = {id(vma.region): vma.region for space in self.spaces.values() for vma in space}
        return sorted(unique.values(), key=lambda region: region.first)

    def could_get(self, pages, busy=()):
        """Is there an aligned free block for so many pages, `busy` being taken by others?"""
        size = blocks_of(pages)
        free = self.free - set(busy)
        starts = {page - page % size for page in free}
        return any(all(page in free for page in range(start, start + size)) for start in starts)

    def shared_region(self, file, pgoff, pages):
        for region in self.regions():
            if not region.shareable or region.file != file:
                continue
            wanted, there = range(pgoff, pgoff + pages), range(region.pgoff, region.pgoff + region.pages)
            if not set(wanted) & set(there):
                continue
            if set(wanted) <= set(there):
                return region
            raise RefusedError(EINVAL)
        return None

    def mmap(self, space, pages, first, file=None, pgoff=0):
        """`first` is the page that the kernel got."""
        region = self.shared_region(file, pgoff, pages) if file is not None else None
        if region is not None:
            assert first == region.first + pgoff - region.pgoff
        else:
            size = blocks_of(pages)
            surplus = size - pages
            held = pages if self.trim_pages and surplus >= self.trim_pages else size
            assert first % size == 0, "not aligned to its order"
            taken = set(range(first, first + held))
            assert taken <= self.free, "pages that were not free"
            self.free -= taken
            region = Region(first, pages, held, file, pgoff)
        self.spaces[space].append(Vma(first, first + pages, region, pgoff))
        self.spaces[space].sort(key=lambda vma: vma.first)

    def put(self, space, vma):
        self.spaces[space].remove(vma)
        region = vma.region
        if not any(other.region is region for vmas in self.spaces.values() for other in vmas):
            self.free |= set(range(region.first, region.first + region.held))

    def munmap(self, space, first, last):
        hit = [vma for vma in self.spaces[space] if vma.first < last and first < vma.last]
        if not hit:
            raise RefusedError(EINVAL)
        if hit[0].region.file is not None:
            for vma in hit:
                if first > vma.first:
                    raise RefusedError(EINVAL)
                if last == vma.last:
                    self.put(space, vma)
                    return
            raise RefusedError(EINVAL)
        vma = hit[0]
        if first < vma.first or last > vma.last:
            raise RefusedError(EINVAL)
        if (first, last) == (vma.first, vma.last):
            self.put(space, vma)
            return
        if first > vma.first and last < vma.last:
            self.split(space, vma, first)
        self.cut(vma, first, last)

    def split(self, space, vma, at):
        """`vma` keeps the upper part."""
        region = vma.region
        below = Region(region.first, at - region.first, at - region.first, None, region.pgoff)
        self.spaces[space].append(Vma(vma.first, at, below, vma.pgoff))
        vma.pgoff += at - vma.first
        region.held -= at - region.first
        region.pages -= at - region.first
        region.pgoff += at - region.first
        vma.first = region.first = at
        self.spaces[space].sort(key=lambda vma: vma.first)

    def cut(self, vma, first, last):
        region = vma.region
        if first > vma.first:
            self.free |= set(range(first, region.first + region.held))
            vma.last = first
            region.pages = region.held = first - region.first
        else:
            self.free |= set(range(first, last))
            region.held -= last - region.first
            region.pages -= last - region.first
            vma.first = region.first = last

    def exit(self, space):
        for vma in list(self.spaces[space]):
            self.put(space, vma)
