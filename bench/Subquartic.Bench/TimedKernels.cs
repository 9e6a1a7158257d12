using System.Diagnostics;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Bench;

/// <summary>Passes every call on and adds up time and nominal operations of those that multiply matrices: products, attention, convolution and
/// their gradients. Calls from within a task of the pool count as part of the call around them, or not at all.</summary>
internal sealed class TimedKernels(KernelSet kernels) : KernelSet(kernels.Pool)
{
    private readonly int _thread = Environment.CurrentManagedThreadId;
    private bool _inside;

    /// <summary>Seconds and floating-point operations of each kind of call since <see cref="Clear"/>.</summary>
    public Dictionary<string, (double Seconds, double Operations)> Parts { get; } = [];

    public override string Name => kernels.Name;

    public void Clear() => Parts.Clear();

    public override PackedMatrix Pack(Matrix weight, bool transposed = false, PackedMatrix? reuse = null) => kernels.Pack(weight, transposed, reuse);

    public override void Gemm(Matrix a, PackedMatrix b, Matrix c, in GemmOptions options = default)
    {
        long start = Begin();
        kernels.Gemm(a, b, c, options);
        End("matrix products", start, 2.0 * c.Rows * b.N * b.K);
    }

    public override void Attention(
        HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output, HeadTensor statistics)
    {
        long start = Begin();
        kernels.Attention(queries, keys, values, scale, output, statistics);
        End("attention", start, 2.0 * Pairs(queries, keys) * (keys.Width + values.Width));
    }

    public override void Quantize(
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, QuantizedHead head, Matrix bias = default) =>
        kernels.Quantize(keys, shift, values, middle, unit, head, bias);

    public override void QuantizedAttention(
        Matrix queries, float scale, QuantizedHead head, ReadOnlySpan<int> rows, Matrix output, Matrix statistics, Matrix more = default, Matrix moreOutput = default)
    {
        long start = Begin();
        kernels.QuantizedAttention(queries, scale, head, rows, output, statistics, more, moreOutput);
        End("attention", start, 2.0 * statistics.Rows * head.Rows * (head.Width + head.ValueWidth + more.Columns));
    }

    public override void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        // Five products: scores and their gradient, and the gradients of queries, keys and values.
        long start = Begin();
        kernels.AttentionGradient(queries, keys, values, dOutput, scale, dQueries, dKeys, dValues);
        End("gradient of attention", start, 2.0 * Pairs(queries, keys) * (3.0 * keys.Width + 2.0 * values.Width));
    }

    public override void Convolve(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options = default)
    {
        long start = Begin();
        kernels.Convolve(x, convolution, y, options);
        End("convolution", start, Operations(convolution.Shape, y));
    }

    public override void ConvolveWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight)
    {
        long start = Begin();
        kernels.ConvolveWeightGradient(x, dy, shape, upsample, dWeight);
        End("weight gradient of convolution", start, Operations(shape, dy));
    }

    public override void LayerNormModulate(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, float epsilon, Matrix y) =>
        kernels.LayerNormModulate(x, scale, shift, rowsPerImage, epsilon, y);

    public override void Softmax(Matrix x, Matrix y) => kernels.Softmax(x, y);

    public override void Exp(ReadOnlySpan<float> x, Span<float> y) => kernels.Exp(x, y);

    public override void Silu(ReadOnlySpan<float> x, Span<float> y) => kernels.Silu(x, y);

    public override void Gelu(ReadOnlySpan<float> x, Span<float> y) => kernels.Gelu(x, y);

    public override void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y, HeadTensor lengths) =>
        kernels.NormalizeHeads(x, factors, y, lengths);

    public override void SiluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add) => kernels.SiluGradient(x, dy, dx, add);

    public override void GeluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add) => kernels.GeluGradient(x, dy, dx, add);

    public override void AddRows(Matrix rows, Span<float> sum) => kernels.AddRows(rows, sum);

    public override void LayerNormGradient(
        Matrix x, Matrix scale, int rowsPerImage, float epsilon, Matrix dy, Matrix dx, bool add, Matrix dScale, Matrix dShift) =>
        kernels.LayerNormGradient(x, scale, rowsPerImage, epsilon, dy, dx, add, dScale, dShift);

    public override void NormalizeHeadsGradient(
        HeadTensor y, ReadOnlySpan<float> factors, HeadTensor lengths, HeadTensor dy, HeadTensor along) =>
        kernels.NormalizeHeadsGradient(y, factors, lengths, dy, along);

    public override void GroupNormGradient(
        FeatureMap x, ReadOnlySpan<float> weight, int groups, Matrix scale, Matrix shift, Matrix inverse, Matrix offset, bool silu,
        FeatureMap dy, FeatureMap dx, bool add, Span<float> dWeight, Span<float> dBias) =>
        kernels.GroupNormGradient(x, weight, groups, scale, shift, inverse, offset, silu, dy, dx, add, dWeight, dBias);

    public override PackedConvolution PackConvolution(
        in ConvolutionShape shape, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, PackedConvolution? reuse = null) =>
        kernels.PackConvolution(shape, weight, bias, reuse);

    public override void GroupNorm(
        FeatureMap x, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, int groups, float epsilon, Matrix scale, Matrix shift) =>
        kernels.GroupNorm(x, weight, bias, groups, epsilon, scale, shift);

    public override void ScaleShift(FeatureMap x, Matrix scale, Matrix shift, bool silu, FeatureMap y) => kernels.ScaleShift(x, scale, shift, silu, y);

    private static double Pairs(HeadTensor queries, HeadTensor keys) => (double)queries.Batch * queries.Heads * queries.Rows * keys.Rows;

    private static double Operations(in ConvolutionShape shape, FeatureMap output) =>
        2.0 * output.Batch * output.Height * output.Width * shape.Inputs * shape.Outputs * shape.Kernel * shape.Kernel;

    private long Begin()
    {
        if (_inside || Environment.CurrentManagedThreadId != _thread)
        {
            return 0;
        }

        _inside = true;
        return Stopwatch.GetTimestamp();
    }

    private void End(string part, long start, double operations)
    {
        if (start == 0)
        {
            return;
        }

        _inside = false;
        (double seconds, double before) = Parts.GetValueOrDefault(part);
        Parts[part] = (seconds + Stopwatch.GetElapsedTime(start).TotalSeconds, before + operations);
    }
}
