using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

/// <summary>The weights of a convolution in the order a kernel set reads them.</summary>
public sealed class PackedConvolution : IDisposable
{
    internal PackedConvolution(string kernels, in ConvolutionShape shape, ConvolutionAlgorithm algorithm, long length)
    {
        Kernels = kernels;
        Shape = shape;
        Algorithm = algorithm;
        Weights = new FloatBuffer(length);
        BiasBuffer = new FloatBuffer(shape.Outputs);
    }

    /// <summary>Channels, kernel size and stride.</summary>
    public ConvolutionShape Shape { get; }

    /// <summary>How it is computed.</summary>
    public ConvolutionAlgorithm Algorithm { get; }

    /// <summary>Name of the set it was packed for.</summary>
    public string Kernels { get; }

    internal FloatBuffer Weights { get; }

    internal FloatBuffer BiasBuffer { get; }

    internal ReadOnlySpan<float> Bias => BiasBuffer.Span();

    /// <summary>Sets the bias; an empty one is zero.</summary>
    internal void SetBias(ReadOnlySpan<float> bias)
    {
        bias.CopyTo(BiasBuffer.Span());
        BiasBuffer.Span()[bias.Length..].Clear();
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        Weights.Dispose();
        BiasBuffer.Dispose();
    }
}
