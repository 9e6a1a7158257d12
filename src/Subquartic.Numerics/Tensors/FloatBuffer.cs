using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Subquartic.Numerics.Tensors;

/// <summary>A block of zeroed float32 memory outside the managed heap, aligned to 64 bytes (one cache line, one 512-bit
/// vector). It owns its memory; <see cref="Matrix"/>, <see cref="HeadTensor"/> and <see cref="FeatureMap"/> are views of it.</summary>
/// <remarks>Weights and activations live here so that the collector never moves, scans or counts them. Freed by
/// <see cref="Dispose"/>, or by the finalizer when forgotten. Views of a disposed buffer throw when asked for a span.</remarks>
public sealed unsafe partial class FloatBuffer : IDisposable
{
    private const int Alignment = 64;

    // Below this size a huge page would waste more than it saves in page walks.
    private const long HugePageThreshold = 4L << 20;

    private float* _pointer;

    /// <summary>Allocates <paramref name="length"/> zeros.</summary>
    /// <param name="length">Number of float32 values, at least 0.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="length"/> is negative or its bytes overflow.</exception>
    /// <exception cref="OutOfMemoryException">The system has no such block.</exception>
    public FloatBuffer(long length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, long.MaxValue / sizeof(float) - Alignment);
        Length = length;
        nuint bytes = (nuint)Math.Max(length, 1) * sizeof(float);
        bool huge = (long)bytes >= HugePageThreshold;
        nuint alignment = huge ? 2u << 20 : Alignment;
        _pointer = (float*)NativeMemory.AlignedAlloc(bytes, alignment);
        if (huge && OperatingSystem.IsLinux())
        {
            AdviseHugePages(_pointer, bytes);
        }

        NativeMemory.Clear(_pointer, bytes);
        GC.AddMemoryPressure((long)bytes);
    }

    /// <summary>Frees the memory when <see cref="Dispose"/> was not called.</summary>
    ~FloatBuffer() => Free();

    /// <summary>Number of float32 values.</summary>
    public long Length { get; }

    /// <summary>Whether the memory has been freed.</summary>
    public bool IsDisposed => _pointer is null;

    /// <summary>First value. Valid until <see cref="Dispose"/>; kernels keep the buffer reachable while they run.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    internal float* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_pointer is null, this);
            return _pointer;
        }
    }

    /// <summary>A new buffer holding a copy of <paramref name="values"/>.</summary>
    /// <param name="values">The values to copy.</param>
    /// <returns>A buffer of the same length; the caller disposes it.</returns>
    public static FloatBuffer Of(ReadOnlySpan<float> values)
    {
        var buffer = new FloatBuffer(values.Length);
        values.CopyTo(buffer.Span(0, values.Length));
        return buffer;
    }

    /// <summary>The values from <paramref name="offset"/> on.</summary>
    /// <param name="offset">Index of the first value.</param>
    /// <param name="length">Number of values.</param>
    /// <returns>A span over the buffer's own memory, valid until <see cref="Dispose"/>.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the buffer.</exception>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public Span<float> Span(long offset, int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset + length, Length, nameof(length));
        return new Span<float>(Pointer + offset, length);
    }

    /// <summary>Brings values that will be read soon nearer to the processor, where it has such an instruction; nothing else changes.</summary>
    /// <param name="offset">Index of the first value.</param>
    /// <param name="length">Number of values.</param>
    /// <exception cref="ObjectDisposedException">The buffer was disposed.</exception>
    public void Prefetch(long offset, int length)
    {
        const int line = 16; // values in a cache line
        for (int i = 0; i < length && Sse.IsSupported; i += line)
        {
            Sse.Prefetch0(Pointer + offset + i); // no address faults
        }
    }

    /// <summary>All values, for buffers of at most 2^31 - 1 of them.</summary>
    /// <returns>A span over the buffer's own memory, valid until <see cref="Dispose"/>.</returns>
    /// <exception cref="OverflowException">The buffer is longer than a span can be.</exception>
    public Span<float> Span() => Span(0, checked((int)Length));

    /// <summary>A row-major view of <paramref name="rows"/> x <paramref name="columns"/> values.</summary>
    /// <param name="rows">Number of rows.</param>
    /// <param name="columns">Number of columns, also the row stride.</param>
    /// <param name="offset">Index of the first value.</param>
    /// <returns>A view; it does not own the memory.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The view leaves the buffer.</exception>
    public Matrix Matrix(int rows, int columns, long offset = 0) => new(this, offset, rows, columns, columns);

    /// <summary>A view of a batch of images, batch x height x width x channels.</summary>
    /// <param name="batch">Number of images.</param>
    /// <param name="height">Rows of an image.</param>
    /// <param name="width">Columns of an image.</param>
    /// <param name="channels">Values of a pixel, contiguous.</param>
    /// <param name="offset">Index of the first value.</param>
    /// <returns>A view; it does not own the memory.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The view leaves the buffer.</exception>
    public FeatureMap FeatureMap(int batch, int height, int width, int channels, long offset = 0) =>
        new(this, offset, batch, height, width, channels);

    /// <summary>Frees the memory at once. Views of this buffer become unusable.</summary>
    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        float* pointer = _pointer;
        _pointer = null;
        if (pointer is not null)
        {
            NativeMemory.AlignedFree(pointer);
            GC.RemoveMemoryPressure(Math.Max(Length, 1) * sizeof(float));
        }
    }

    private static void AdviseHugePages(void* pointer, nuint bytes)
    {
        const int hugePage = 14; // MADV_HUGEPAGE
        _ = MemoryAdvise(pointer, bytes, hugePage); // advice: a refusal changes speed only
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int MemoryAdvise(void* address, nuint length, int advice);
}
