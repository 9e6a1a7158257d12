using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

/// <summary>Checks of operands, shared by all kernel sets, so that every set refuses the same calls with the same words.</summary>
internal static class Check
{
    public static void Pack(PackedMatrix packed, KernelSet kernels, int n, int k) =>
        Require(packed.Kernels == kernels.Name && packed.N == n && packed.K == k,
            $"the pack to reuse is ({packed.N}, {packed.K}) for {packed.Kernels}, not ({n}, {k}) for {kernels.Name}");

    public static void Gemm(Matrix a, PackedMatrix b, Matrix c, in GemmOptions options, KernelSet kernels)
    {
        int m = options.TransposeA ? a.Columns : a.Rows;
        int k = options.TransposeA ? a.Rows : a.Columns;
        Require(b.Kernels == kernels.Name, $"the weights were packed for {b.Kernels}, not for {kernels.Name}");
        Require(k == b.K, $"A has inner size {k}, the weights {b.K}");
        Require(c.Rows == m && c.Columns == b.N, $"C is ({c.Rows}, {c.Columns}), the product ({m}, {b.N})");
        if (options.Bias.Buffer is not null)
        {
            Require(options.Bias.Rows == 1 && options.Bias.Columns == b.N,
                $"the bias is ({options.Bias.Rows}, {options.Bias.Columns}), not (1, {b.N})");
        }

        if (options.Gate.Buffer is not null)
        {
            Require(options.RowsPerGate > 0 && options.Gate.Columns == b.N && (long)options.Gate.Rows * options.RowsPerGate >= m,
                $"a gate ({options.Gate.Rows}, {options.Gate.Columns}) with {options.RowsPerGate} rows each does not cover ({m}, {b.N})");
        }

        if (options.Residual.Buffer is not null)
        {
            SameShape(options.Residual, c);
        }
    }

    public static void LayerNorm(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, Matrix y)
    {
        SameShape(x, y);
        SameShape(scale, shift);
        Require(rowsPerImage > 0 && scale.Columns == x.Columns && (long)scale.Rows * rowsPerImage >= x.Rows,
            $"a modulation ({scale.Rows}, {scale.Columns}) with {rowsPerImage} rows each does not cover ({x.Rows}, {x.Columns})");
    }

    public static void SameShape(Matrix x, Matrix y) =>
        Require(x.Rows == y.Rows && x.Columns == y.Columns, $"({x.Rows}, {x.Columns}) and ({y.Rows}, {y.Columns}) differ");

    public static void SameLength(ReadOnlySpan<float> x, ReadOnlySpan<float> y) =>
        Require(x.Length == y.Length, $"lengths {x.Length} and {y.Length} differ");

    public static void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y, HeadTensor lengths)
    {
        Require(x.Batch == y.Batch && x.Heads == y.Heads && x.Rows == y.Rows && x.Width == y.Width,
            $"{Shape(x)} and {Shape(y)} differ");
        Require(factors.IsEmpty || factors.Length == x.Heads, $"{factors.Length} factors for {x.Heads} heads");
        OneEach(x, lengths);
    }

    public static void NormalizeHeadsGradient(HeadTensor y, ReadOnlySpan<float> factors, HeadTensor lengths, HeadTensor dy, HeadTensor along)
    {
        Require(lengths.Buffer is not null, "there are no lengths");
        NormalizeHeads(y, factors, dy, lengths);
        OneEach(y, along);
    }

    public static void ActivationGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, ReadOnlySpan<float> dx)
    {
        SameLength(x, dy);
        SameLength(x, dx);
    }

    public static void AddRows(Matrix rows, ReadOnlySpan<float> sum) =>
        Require(sum.Length == rows.Columns, $"{sum.Length} sums for {rows.Columns} columns");

    public static void LayerNormGradient(Matrix x, Matrix scale, int rowsPerImage, Matrix dy, Matrix dx, Matrix dScale, Matrix dShift)
    {
        SameShape(x, dy);
        SameShape(x, dx.Buffer is null ? x : dx);
        Require(scale.Columns == x.Columns && (long)scale.Rows * rowsPerImage == x.Rows,
            $"a modulation ({scale.Rows}, {scale.Columns}) with {rowsPerImage} rows each does not fit ({x.Rows}, {x.Columns})");
        Require((dScale.Buffer is null) == (dShift.Buffer is null), "the gradients of scale and shift come together");
        SameShape(scale, dScale.Buffer is null ? scale : dScale);
        SameShape(scale, dShift.Buffer is null ? scale : dShift);
    }

    public static void GroupNormGradient(
        FeatureMap x, ReadOnlySpan<float> weight, int groups, Matrix scale, Matrix shift, Matrix inverse, Matrix offset,
        FeatureMap dy, FeatureMap dx, ReadOnlySpan<float> dWeight, ReadOnlySpan<float> dBias)
    {
        GroupNorm(x, weight, dBias, groups, scale, shift);
        Require(dWeight.Length == weight.Length, $"{dWeight.Length} gradients of {weight.Length} weights");
        ScaleShift(x, inverse, offset, dy);
        ScaleShift(x, inverse, offset, dx.Buffer is null ? x : dx);
    }

    private static void OneEach(HeadTensor x, HeadTensor each) => Require(
        each.Buffer is null || (each.Batch == x.Batch && each.Heads == x.Heads && each.Rows == x.Rows && each.Width == 1),
        $"{Shape(each)} does not hold one value for each row of {Shape(x)}");

    public static void Attention(HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor output, HeadTensor statistics)
    {
        Require(keys.Rows > 0, "there are no keys");
        Require(queries.Batch == keys.Batch && queries.Heads == keys.Heads && queries.Width == keys.Width,
            $"queries {Shape(queries)} and keys {Shape(keys)} do not fit");
        Require(values.Batch == keys.Batch && values.Heads == keys.Heads && values.Rows == keys.Rows,
            $"keys {Shape(keys)} and values {Shape(values)} do not fit");
        Require(output.Batch == queries.Batch && output.Heads == queries.Heads && output.Rows == queries.Rows && output.Width == values.Width,
            $"output {Shape(output)} fits neither queries {Shape(queries)} nor values {Shape(values)}");
        Require(
            statistics.Buffer is null
                || (statistics.Batch == queries.Batch && statistics.Heads == queries.Heads && statistics.Rows == queries.Rows && statistics.Width == 2),
            $"statistics {Shape(statistics)} do not fit queries {Shape(queries)}: two values a query");
    }

    public static void Quantize(
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, Matrix bias)
    {
        Require(keys.Rows > 0, "there are no keys");
        Require(keys.Columns <= QuantizedHead.LargestWidth, $"keys are {keys.Columns} wide; at most {QuantizedHead.LargestWidth} can be");
        Require(values.Rows == keys.Rows, $"{keys.Rows} keys and {values.Rows} values do not fit");
        Require(shift.Length == keys.Columns, $"a shift of {shift.Length} values does not fit keys {keys.Columns} wide");
        Require(middle.Length == values.Columns && unit.Length == values.Columns, $"{middle.Length} middles and {unit.Length} units do not fit values {values.Columns} wide");
        Require(bias.Rows == 0 || (bias.Rows == keys.Rows && bias.Columns == 1), $"biases {bias.Rows} x {bias.Columns} do not fit {keys.Rows} keys: one value a key");
    }

    public static void QuantizedAttention(Matrix queries, QuantizedHead head, ReadOnlySpan<int> rows, Matrix output, Matrix statistics, Matrix more, Matrix moreOutput)
    {
        int count = rows.IsEmpty ? queries.Rows : rows.Length;
        Require(head.Rows > 0, "no keys were quantized");
        Require(queries.Columns == head.Width, $"queries {queries.Columns} wide do not fit keys {head.Width} wide");
        Require(output.Rows == queries.Rows && output.Columns == head.ValueWidth,
            $"output {output.Rows} x {output.Columns} fits neither {queries.Rows} queries nor values {head.ValueWidth} wide");
        Require(statistics.Rows == count && statistics.Columns == 2, $"statistics {statistics.Rows} x {statistics.Columns} do not fit {count} queries: two values a query");
        Require(
            more.Rows == 0 || (more.Rows == head.Rows && more.Columns % QuantizedHead.Tile == 0 && moreOutput.Rows == queries.Rows && moreOutput.Columns == more.Columns),
            $"{more.Rows} x {more.Columns} more values and their output {moreOutput.Rows} x {moreOutput.Columns} do not fit {head.Rows} keys and {queries.Rows} queries, in columns by {QuantizedHead.Tile}");
        foreach (int row in rows)
        {
            Require((uint)row < (uint)queries.Rows, $"there is no query {row} among {queries.Rows}");
        }
    }

    public static void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues)
    {
        Same(queries, dQueries, "queries");
        Same(keys, dKeys, "keys");
        Same(values, dValues, "values");

        static void Same(HeadTensor x, HeadTensor dx, string what) => Require(
            x.Batch == dx.Batch && x.Heads == dx.Heads && x.Rows == dx.Rows && x.Width == dx.Width,
            $"{what} {Shape(x)} and their gradient {Shape(dx)} differ");
    }

    public static void ConvolutionWeights(
        in ConvolutionShape shape, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, PackedConvolution? reuse, KernelSet kernels)
    {
        Shape(shape);
        long length = (long)shape.Inputs * shape.Outputs * shape.Kernel * shape.Kernel;
        Require(weight.Length == length, $"{weight.Length} weights for {shape}, which has {length}");
        Require(bias.IsEmpty || bias.Length == shape.Outputs, $"{bias.Length} biases for {shape.Outputs} outputs");
        Require(
            reuse is null || (reuse.Kernels == kernels.Name && reuse.Shape == shape),
            $"the pack to reuse is {reuse?.Shape} for {reuse?.Kernels}, not {shape} for {kernels.Name}");
    }

    public static void Convolve(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options, KernelSet kernels)
    {
        Require(convolution.Kernels == kernels.Name, $"the weights were packed for {convolution.Kernels}, not for {kernels.Name}");
        ConvolutionMaps(x, y, convolution.Shape, options.Upsample);
        if (options.Scale.Buffer is not null)
        {
            SameShape(options.Scale, options.Shift);
            Require(options.Scale.Rows == x.Batch && options.Scale.Columns == x.Channels,
                $"scale is ({options.Scale.Rows}, {options.Scale.Columns}), not ({x.Batch}, {x.Channels})");
        }

        if (options.Residual.Buffer is not null)
        {
            FeatureMap r = options.Residual;
            Require(r.Batch == y.Batch && r.Height == y.Height && r.Width == y.Width && r.Channels == y.Channels, "the residual has another shape");
        }
    }

    public static void ConvolveWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight)
    {
        Shape(shape);
        ConvolutionMaps(x, dy, shape, upsample);
        long columns = (long)shape.Inputs * shape.Kernel * shape.Kernel;
        Require(dWeight.Rows == shape.Outputs && dWeight.Columns == columns,
            $"the gradient is ({dWeight.Rows}, {dWeight.Columns}), not ({shape.Outputs}, {columns})");
    }

    public static void GroupNorm(
        FeatureMap x, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, int groups, Matrix scale, Matrix shift)
    {
        Require(groups > 0 && x.Channels % groups == 0, $"{x.Channels} channels do not split into {groups} groups");
        Require(weight.Length == x.Channels && bias.Length == x.Channels, $"{weight.Length} weights and {bias.Length} biases for {x.Channels} channels");
        ScaleShift(x, scale, shift, x);
    }

    public static void ScaleShift(FeatureMap x, Matrix scale, Matrix shift, FeatureMap y)
    {
        SameShape(scale, shift);
        Require(scale.Rows == x.Batch && scale.Columns == x.Channels, $"scale is ({scale.Rows}, {scale.Columns}), not ({x.Batch}, {x.Channels})");
        Require(x.Batch == y.Batch && x.Height == y.Height && x.Width == y.Width && x.Channels == y.Channels, "input and output differ in shape");
    }

    private static void Shape(in ConvolutionShape shape) =>
        Require(shape.Inputs > 0 && shape.Outputs > 0 && shape.Kernel is 1 or 3 && shape.Stride is 1 or 2 && (shape.Kernel == 3 || shape.Stride == 1),
            $"no such convolution: {shape}");

    private static void ConvolutionMaps(FeatureMap x, FeatureMap y, in ConvolutionShape shape, bool upsample)
    {
        int up = upsample ? 2 : 1;
        Require(x.Channels == shape.Inputs && y.Channels == shape.Outputs,
            $"{x.Channels} and {y.Channels} channels for a convolution of {shape.Inputs} to {shape.Outputs}");
        Require(y.Batch == x.Batch && y.Height == shape.OutputSize(x.Height * up) && y.Width == shape.OutputSize(x.Width * up),
            $"{x.Batch} x {x.Height} x {x.Width} does not become {y.Batch} x {y.Height} x {y.Width}");
    }

    private static string Shape(HeadTensor x) => $"({x.Batch}, {x.Heads}, {x.Rows}, {x.Width})";

    private static void Require(bool condition, [InterpolatedStringHandlerArgument(nameof(condition))] ref Message message)
    {
        if (!condition)
        {
            throw new ArgumentException(message.ToString());
        }
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
        {
            throw new ArgumentException(message);
        }
    }

    /// <summary>Builds the text only when the check fails, so that a passing check does not allocate.</summary>
    [InterpolatedStringHandler]
    internal ref struct Message
    {
        private DefaultInterpolatedStringHandler _inner;

        public Message(int literalLength, int formattedCount, bool condition, out bool append)
        {
            append = !condition;
            _inner = append ? new DefaultInterpolatedStringHandler(literalLength, formattedCount) : default;
        }

        public void AppendLiteral(string value) => _inner.AppendLiteral(value);

        public void AppendFormatted<T>(T value) => _inner.AppendFormatted(value);

        public override string ToString() => _inner.ToStringAndClear();
    }
}
