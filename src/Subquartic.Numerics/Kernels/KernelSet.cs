using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

/// <summary>Every operation of the models, in one vector width and on one set of threads. The widths are interchangeable:
/// <c>scalar</c> is the judge (plain loops, double accumulation), <c>vector128</c>, <c>vector256</c> and <c>vector512</c> are
/// one source at three widths.</summary>
/// <remarks>
/// <para>The bits of a result depend on neither the number of threads nor on which other rows, tokens or images share the
/// call: every output value is computed by the same sequence of operations wherever it stands.</para>
/// <para>No method allocates managed memory in its steady state. Sizes are checked; an <see cref="ArgumentException"/> names the
/// operand that does not fit. Inputs and outputs must not overlap unless a method says so.</para>
/// </remarks>
public abstract partial class KernelSet
{
    /// <summary>Keys that <see cref="Attention(HeadTensor, HeadTensor, HeadTensor, float, HeadTensor)"/> sums at once: it adds up blocks of at most so many keys, then the blocks, which
    /// keeps the rounding of long sums small.</summary>
    public const int AttentionKeyBlock = 128;

    private static readonly Lazy<KernelSet> LazyBest = new(() =>
        Create(Environment.GetEnvironmentVariable("SUBQUARTIC_KERNELS") is { Length: > 0 } name ? name : BestName));

    /// <summary>Creates the set.</summary>
    /// <param name="pool">Threads that share the work.</param>
    protected KernelSet(WorkerPool pool) => Pool = pool;

    /// <summary>The names of all sets, narrowest first. All of them run everywhere; a width the processor lacks is emulated, slowly.</summary>
    public static IReadOnlyList<string> Available { get; } = ["scalar", "vector128", "vector256", "vector512"];

    /// <summary>The widest set the processor has, on all processors, shared by the whole process. The environment variable
    /// <c>SUBQUARTIC_KERNELS</c> forces a name.</summary>
    public static KernelSet Best => LazyBest.Value;

    /// <summary>Name of the set, one of <see cref="Available"/>.</summary>
    public abstract string Name { get; }

    /// <summary>Threads that share the work.</summary>
    public WorkerPool Pool { get; }

    private static string BestName =>
        Vector512.IsHardwareAccelerated ? "vector512" :
        Vector256.IsHardwareAccelerated ? "vector256" :
        Vector128.IsHardwareAccelerated ? "vector128" : "scalar";

    /// <summary>Creates a set by name.</summary>
    /// <param name="name">One of <see cref="Available"/>.</param>
    /// <param name="threads">Threads that share the work, 0 for one per processor.</param>
    /// <returns>A new set with threads of its own.</returns>
    /// <exception cref="ArgumentException">There is no set of that name.</exception>
    public static KernelSet Create(string name, int threads = 0) => name switch
    {
        "scalar" => new ScalarKernels(new WorkerPool(threads)),
        "vector128" => new VectorKernels<Lanes128, Vector128<float>>(name, new WorkerPool(threads)),
        "vector256" => new VectorKernels<Lanes256, Vector256<float>>(name, new WorkerPool(threads)),
        "vector512" => new VectorKernels<Lanes512, Vector512<float>>(name, new WorkerPool(threads)),
        _ => throw new ArgumentException($"There is no kernel set '{name}'; there are {string.Join(", ", Available)}.", nameof(name)),
    };

    // ---- Matrix products (Gemm.cs) ---------------------------------------------------------------------------------

    /// <summary>Copies a weight matrix into the order the product kernel reads. Weights are packed once and used often.</summary>
    /// <param name="weight">W (N, K), the layout of a linear layer y = x W^T; or (K, N) when <paramref name="transposed"/>.</param>
    /// <param name="transposed">Whether <paramref name="weight"/> is (K, N).</param>
    /// <param name="reuse">A pack to overwrite, from this set and with the same N and K; null allocates one.</param>
    /// <returns>The packed weights, usable with this set only.</returns>
    public abstract PackedMatrix Pack(Matrix weight, bool transposed = false, PackedMatrix? reuse = null);

    /// <summary>C = epilogue(A W^T): the linear layer. A (M, K) or, with <see cref="GemmOptions.TransposeA"/>, (K, M); C (M, N).</summary>
    /// <param name="a">Left operand.</param>
    /// <param name="b">Packed weights W (N, K).</param>
    /// <param name="c">Output; may be the residual of <paramref name="options"/>, nothing else may overlap it.</param>
    /// <param name="options">Bias, activation, gate and residual.</param>
    public abstract void Gemm(Matrix a, PackedMatrix b, Matrix c, in GemmOptions options = default);

    // ---- Rows (Rows.cs) ---------------------------------------------------------------------------------------------

    /// <summary>y_i = LN(x_i) * (1 + scale_b) + shift_b with b = i / rowsPerImage: layer normalisation without learned
    /// weights, modulated by the condition (AdaLN; VAR models/basic_var.py, AdaLNSelfAttn.forward).</summary>
    /// <param name="x">(B * rowsPerImage, C).</param>
    /// <param name="scale">(B, C).</param>
    /// <param name="shift">(B, C).</param>
    /// <param name="rowsPerImage">Tokens of one image, L.</param>
    /// <param name="epsilon">Added to the variance (1e-6 in VAR).</param>
    /// <param name="y">(B * rowsPerImage, C); may be <paramref name="x"/>.</param>
    public abstract void LayerNormModulate(Matrix x, Matrix scale, Matrix shift, int rowsPerImage, float epsilon, Matrix y);

    /// <summary>y_i = softmax(x_i) for every row; the row maximum is subtracted first, so no finite input overflows.</summary>
    /// <param name="x">(M, N). -infinity is allowed, but not a whole row of it.</param>
    /// <param name="y">(M, N); may be <paramref name="x"/>.</param>
    public abstract void Softmax(Matrix x, Matrix y);

    /// <summary>y = exp(x), elementwise.</summary>
    /// <param name="x">Arguments; below -104 gives 0, above 88.73 infinity, NaN stays NaN.</param>
    /// <param name="y">As long as <paramref name="x"/>; may be <paramref name="x"/>.</param>
    public abstract void Exp(ReadOnlySpan<float> x, Span<float> y);

    /// <summary>y = x / (1 + exp(-x)), elementwise (SiLU).</summary>
    /// <param name="x">Arguments.</param>
    /// <param name="y">As long as <paramref name="x"/>; may be <paramref name="x"/>.</param>
    public abstract void Silu(ReadOnlySpan<float> x, Span<float> y);

    /// <summary>y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), elementwise (GELU in its tanh form).</summary>
    /// <param name="x">Arguments.</param>
    /// <param name="y">As long as <paramref name="x"/>; may be <paramref name="x"/>.</param>
    public abstract void Gelu(ReadOnlySpan<float> x, Span<float> y);

    /// <summary>Copies every row of every head, divided by max(|row|_2, 1e-12) and times a factor per head: the l2
    /// normalisation of queries and keys (VAR models/basic_var.py, SelfAttention.forward; F.normalize).</summary>
    /// <param name="x">(B, H, L, c).</param>
    /// <param name="factors">One factor per head, or empty for 1.</param>
    /// <param name="y">(B, H, L, c); may be <paramref name="x"/>.</param>
    public void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y) => NormalizeHeads(x, factors, y, default);

    /// <summary>As <see cref="NormalizeHeads(HeadTensor, ReadOnlySpan{float}, HeadTensor)"/>, and what every row was divided by.</summary>
    /// <param name="x">(B, H, L, c).</param>
    /// <param name="factors">One factor per head, or empty for 1.</param>
    /// <param name="y">(B, H, L, c); may be <paramref name="x"/>.</param>
    /// <param name="lengths">(B, H, L, 1); left out when its buffer is null.</param>
    public abstract void NormalizeHeads(HeadTensor x, ReadOnlySpan<float> factors, HeadTensor y, HeadTensor lengths);

    // ---- Attention (Attention.cs) -----------------------------------------------------------------------------------

    /// <summary>o = softmax(scale * Q K^T) V for every head of every image, without ever holding the score matrix.
    /// All keys given are visible to all queries; block-causal attention is one call per scale, with a prefix of the keys.</summary>
    /// <param name="queries">(B, H, L, c).</param>
    /// <param name="keys">(B, H, S, c), S at least 1.</param>
    /// <param name="values">(B, H, S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="output">(B, H, L, c_v).</param>
    public void Attention(HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output) =>
        Attention(queries, keys, values, scale, output, default);

    /// <summary>As <see cref="Attention(HeadTensor, HeadTensor, HeadTensor, float, HeadTensor)"/>, and what it takes to join results
    /// over different keys: m and z of every query, with sum_j exp(scale * q.k_j) = 2^m z, m near the largest score times log2(e).</summary>
    /// <param name="queries">(B, H, L, c).</param>
    /// <param name="keys">(B, H, S, c), S at least 1.</param>
    /// <param name="values">(B, H, S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="output">(B, H, L, c_v).</param>
    /// <param name="statistics">(B, H, L, 2): m and z; left out when its buffer is null.</param>
    public abstract void Attention(
        HeadTensor queries, HeadTensor keys, HeadTensor values, float scale, HeadTensor output, HeadTensor statistics);

    /// <summary>Rounds the keys and values of a head to 16-bit integers, for <see cref="QuantizedAttention"/>. The unit s_k of the keys, shifted, is the larger of the longest
    /// over <see cref="QuantizedHead.LongestInteger"/> and the largest coordinate over <see cref="QuantizedHead.LargestInteger"/>.</summary>
    /// <param name="keys">(S, c), S at least 1, c at most <see cref="QuantizedHead.LargestWidth"/>; finite.</param>
    /// <param name="shift">c values, subtracted from every key, which changes no weight.</param>
    /// <param name="values">(S, c_v).</param>
    /// <param name="middle">c_v values, subtracted from the columns of V.</param>
    /// <param name="unit">s_v of each column: values further from the middle than <see cref="QuantizedHead.LargestValue"/> - 1 of it are taken as that far. 0 takes the middle for all values.</param>
    /// <param name="head">Overwritten.</param>
    /// <param name="bias">(S, 1), added to the scores of each key, of at most 10^3 in magnitude; none when it has no rows.</param>
    public abstract void Quantize(
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, QuantizedHead head, Matrix bias = default);

    /// <summary>o = softmax(scale * Q K^T) V with integers for queries, keys, values and weights. The unit of a query is s_q, found in the same way. In each block
    /// of <see cref="QuantizedHead.KeyBlock"/> keys weights are rounded to integers in a unit of their own, a power of two by which the largest of them
    /// is from 2^13 to 2^14, at least 2^-40 of what it was in any block before.</summary>
    /// <param name="queries">(L, c), finite; with |scale q.k| at most 10^4 for all (shifted) keys, beyond which weights may leave their integers.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="head">Keys and values.</param>
    /// <param name="rows">The queries to compute, in any order; empty for all.</param>
    /// <param name="output">(L, c_v); the rows computed are overwritten.</param>
    /// <param name="statistics">(as many as rows are computed, 2), overwritten, in their order: the sum over keys of the unit of their weight, over the sum of all weights; and s_q s_k |scale| log2(e).</param>
    /// <param name="more">(S, m), m a multiple of <see cref="QuantizedHead.Tile"/>: values whose means are taken in float32, under the weights before they are rounded, over the sum of those that are; none
    /// when it has no rows.</param>
    /// <param name="moreOutput">(L, m); the rows computed are overwritten.</param>
    public abstract void QuantizedAttention(
        Matrix queries, float scale, QuantizedHead head, ReadOnlySpan<int> rows, Matrix output, Matrix statistics, Matrix more = default, Matrix moreOutput = default);

    /// <summary>The gradient of <see cref="Attention(HeadTensor, HeadTensor, HeadTensor, float, HeadTensor)"/>. With P the weights and D_i = sum_j P_ij (dO_i.V_j): dV += P^T dO,
    /// dS = P o (dO V^T - D), dQ += scale dS K, dK += scale dS^T Q. The weights are computed again.</summary>
    /// <param name="queries">(B, H, L, c).</param>
    /// <param name="keys">(B, H, S, c), S at least 1.</param>
    /// <param name="values">(B, H, S, c_v).</param>
    /// <param name="dOutput">Gradient of the output (B, H, L, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="dQueries">(B, H, L, c), added to.</param>
    /// <param name="dKeys">(B, H, S, c), added to.</param>
    /// <param name="dValues">(B, H, S, c_v), added to.</param>
    public abstract void AttentionGradient(
        HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor dOutput, float scale,
        HeadTensor dQueries, HeadTensor dKeys, HeadTensor dValues);

    // ---- Gradients of what stands between the products (Gradients.cs) ------------------------------------------------

    /// <summary>dx = dy s (1 + x (1 - s)), s = 1 / (1 + exp(-x)), elementwise: the gradient of <see cref="Silu"/>.</summary>
    /// <param name="x">Arguments of the function.</param>
    /// <param name="dy">Gradient of its value; as long.</param>
    /// <param name="dx">Gradient of the arguments; as long; may be <paramref name="dy"/> unless <paramref name="add"/>.</param>
    /// <param name="add">Whether the result is added to <paramref name="dx"/>.</param>
    public abstract void SiluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add);

    /// <summary>dx = dy GELU'(x), elementwise: the gradient of <see cref="Gelu"/>.</summary>
    /// <param name="x">Arguments of the function.</param>
    /// <param name="dy">Gradient of its value; as long.</param>
    /// <param name="dx">Gradient of the arguments; as long; may be <paramref name="dy"/> unless <paramref name="add"/>.</param>
    /// <param name="add">Whether the result is added to <paramref name="dx"/>.</param>
    public abstract void GeluGradient(ReadOnlySpan<float> x, ReadOnlySpan<float> dy, Span<float> dx, bool add);

    /// <summary>sum_j += the sum over all rows i of x_ij: the gradient of a bias.</summary>
    /// <param name="rows">(M, N).</param>
    /// <param name="sum">N values, added to.</param>
    public abstract void AddRows(Matrix rows, Span<float> sum);

    /// <summary>The gradient of <see cref="LayerNormModulate"/>. With g = dy (1 + scale), n the normalised row and means over the row:
    /// dx = (g - mean(g) - n mean(g n)) / deviation; dscale_b += sum of dy n, dshift_b += sum of dy, over the rows of image b.</summary>
    /// <param name="x">(B * rowsPerImage, C).</param>
    /// <param name="scale">(B, C).</param>
    /// <param name="rowsPerImage">Tokens of one image, L.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="dy">(B * rowsPerImage, C).</param>
    /// <param name="dx">(B * rowsPerImage, C); left out when its buffer is null.</param>
    /// <param name="add">Whether the gradient is added to <paramref name="dx"/>.</param>
    /// <param name="dScale">(B, C), added to; left out when its buffer is null.</param>
    /// <param name="dShift">(B, C), added to; left out together with <paramref name="dScale"/>.</param>
    public abstract void LayerNormGradient(
        Matrix x, Matrix scale, int rowsPerImage, float epsilon, Matrix dy, Matrix dx, bool add, Matrix dScale, Matrix dShift);

    /// <summary>Turns gradients of y = f n, n = x / |x|, into those of x, in place: dx = (f / |x|) (dy - n (n.dy)).</summary>
    /// <param name="y">(B, H, L, c), the result of <see cref="NormalizeHeads(HeadTensor, ReadOnlySpan{float}, HeadTensor, HeadTensor)"/>.</param>
    /// <param name="factors">f, one per head and not 0, or empty for 1.</param>
    /// <param name="lengths">(B, H, L, 1): |x|, as it gave them.</param>
    /// <param name="dy">(B, H, L, c): gradient of y, replaced by that of x.</param>
    /// <param name="along">(B, H, L, 1), output: n.dy, of which the gradient of f is the sum; left out when its buffer is null.</param>
    public abstract void NormalizeHeadsGradient(
        HeadTensor y, ReadOnlySpan<float> factors, HeadTensor lengths, HeadTensor dy, HeadTensor along);

    /// <summary>The gradient of y = act(GN(x) weight + bias). With z = x scale + shift, n = x inverse + offset the normalised value, dz = dy act'(z),
    /// g = dz weight and means over a group of an image: dx = (g - mean(g) - n mean(g n)) inverse; dweight += sum dz n; dbias += sum dz.</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="weight">(C).</param>
    /// <param name="groups">Number of groups; divides C.</param>
    /// <param name="scale">(B, C): what <see cref="GroupNorm"/> gives for weight and bias.</param>
    /// <param name="shift">(B, C).</param>
    /// <param name="inverse">(B, C): what it gives for weight 1 and bias 0.</param>
    /// <param name="offset">(B, C).</param>
    /// <param name="silu">Whether act is SiLU; otherwise it is the identity.</param>
    /// <param name="dy">(B, H, W, C).</param>
    /// <param name="dx">(B, H, W, C); left out when its buffer is null.</param>
    /// <param name="add">Whether the gradient is added to <paramref name="dx"/>.</param>
    /// <param name="dWeight">(C), added to.</param>
    /// <param name="dBias">(C), added to.</param>
    public abstract void GroupNormGradient(
        FeatureMap x, ReadOnlySpan<float> weight, int groups, Matrix scale, Matrix shift, Matrix inverse, Matrix offset, bool silu,
        FeatureMap dy, FeatureMap dx, bool add, Span<float> dWeight, Span<float> dBias);

    // ---- Convolution and normalisation of feature maps (Convolution.cs, GroupNorm.cs) ---------------------------------

    /// <summary>Copies the weights of a convolution into the order the kernels read.</summary>
    /// <param name="shape">Channels, kernel size, stride, and the sizes of map it will meet (they choose the algorithm).</param>
    /// <param name="weight">(outputs, inputs, k, k) as in the checkpoint.</param>
    /// <param name="bias">(outputs), or empty.</param>
    /// <param name="reuse">A pack to overwrite, from this set and of the same shape; null allocates one.</param>
    /// <returns>The packed weights, usable with this set only.</returns>
    public abstract PackedConvolution PackConvolution(
        in ConvolutionShape shape, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, PackedConvolution? reuse = null);

    /// <summary>y = conv(prologue(x)) + bias (+ residual). Zero padding applies after the prologue.</summary>
    /// <param name="x">(B, H, W, inputs).</param>
    /// <param name="convolution">Packed weights.</param>
    /// <param name="y">(B, H', W', outputs) with the size <see cref="ConvolutionShape.OutputSize"/> gives.</param>
    /// <param name="options">Normalisation and activation of the input, up-sampling, residual.</param>
    public abstract void Convolve(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options = default);

    /// <summary>dW += the gradient of a convolution's weights: for every tap, output o and input i the sum of dy[o] x[i] over all
    /// pixels of the output and the pixels of the input that they meet through the tap. The images are summed in their order.</summary>
    /// <param name="x">(B, H, W, inputs), the input of the convolution.</param>
    /// <param name="dy">(B, H', W', outputs), the gradient of its output.</param>
    /// <param name="shape">Channels, kernel size and stride.</param>
    /// <param name="upsample">Whether the input was first doubled in height and width by repeating pixels.</param>
    /// <param name="dWeight">(outputs, inputs * k * k), the order of the checkpoint; added to.</param>
    public abstract void ConvolveWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight);

    /// <summary>Statistics of group normalisation, folded with its weights into one multiply-add per channel:
    /// GN(x) = x * scale + shift (32 groups and epsilon 1e-6 in VAR's VQ-VAE).</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="weight">(C).</param>
    /// <param name="bias">(C).</param>
    /// <param name="groups">Number of groups; divides C.</param>
    /// <param name="epsilon">Added to the variance.</param>
    /// <param name="scale">(B, C), output.</param>
    /// <param name="shift">(B, C), output.</param>
    public abstract void GroupNorm(
        FeatureMap x, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, int groups, float epsilon, Matrix scale, Matrix shift);

    /// <summary>y = act(x * scale_b + shift_b) per channel: applies what <see cref="GroupNorm"/> computed.</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="scale">(B, C).</param>
    /// <param name="shift">(B, C).</param>
    /// <param name="silu">Whether SiLU follows.</param>
    /// <param name="y">(B, H, W, C); may be <paramref name="x"/>.</param>
    public abstract void ScaleShift(FeatureMap x, Matrix scale, Matrix shift, bool silu, FeatureMap y);
}
