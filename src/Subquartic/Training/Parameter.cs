using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Training;

/// <summary>A trainable tensor: value, gradient, and its packed forms, which are made again after every change.</summary>
public sealed class Parameter : IDisposable
{
    private readonly Dictionary<(KernelSet Kernels, bool Transposed), PackedMatrix> _packs = [];
    private readonly HashSet<PackedMatrix> _stale = [];

    /// <summary>Creates a parameter of zeros.</summary>
    /// <param name="name">Full name, as in the official state dict.</param>
    /// <param name="shape">Sizes, outermost first.</param>
    public Parameter(string name, params IReadOnlyList<int> shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        Name = name;
        Shape = shape;
        long length = shape.Aggregate(1L, (product, size) => checked(product * size));
        Value = new FloatBuffer(length);
        Gradient = new FloatBuffer(length);
    }

    /// <summary>Full name, as in the official state dict.</summary>
    public string Name { get; }

    /// <summary>Sizes, outermost first.</summary>
    public IReadOnlyList<int> Shape { get; }

    /// <summary>The weights, row-major.</summary>
    public FloatBuffer Value { get; }

    /// <summary>Gradient of the loss; operations add to it.</summary>
    public FloatBuffer Gradient { get; }

    /// <summary>Whether the optimiser changes it. Operations skip the gradient of a frozen parameter.</summary>
    public bool Trainable { get; set; } = true;

    /// <summary>Whether weight decay applies: to matrices and kernels, not to biases, norms and embeddings (VAR utils/lr_control.py,
    /// filter_params).</summary>
    public bool Decays { get; init; } = true;

    /// <summary>Hidden matrices that stand below each other in this parameter (three in the weights of queries, keys and values), for
    /// <see cref="Muon"/>; 0 for what is none: embeddings, heads, biases, norms.</summary>
    public int HiddenMatrices { get; set; }

    /// <summary>Counts changes of the value.</summary>
    public int Version { get; private set; }

    /// <summary>The value as a matrix: first size by the product of the others.</summary>
    public Matrix Matrix => AsMatrix(Value);

    /// <summary>The gradient as a matrix, shaped as <see cref="Matrix"/>.</summary>
    public Matrix GradientMatrix => AsMatrix(Gradient);

    /// <summary>Says that the value was changed, so that packed forms are made again.</summary>
    public void Changed()
    {
        Version++;
        _stale.UnionWith(_packs.Values);
    }

    /// <summary>The packed form of <see cref="Matrix"/> for a product with it (N, K), or with its transpose.</summary>
    /// <param name="kernels">The kernels that multiply.</param>
    /// <param name="transposed">Whether to pack the transpose: the weights of the backward pass of a linear layer.</param>
    /// <returns>The pack; valid until the value changes.</returns>
    public PackedMatrix Packed(KernelSet kernels, bool transposed = false)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        if (!_packs.TryGetValue((kernels, transposed), out PackedMatrix? pack))
        {
            pack = _packs[(kernels, transposed)] = kernels.Pack(Matrix, transposed);
        }
        else if (_stale.Remove(pack))
        {
            kernels.Pack(Matrix, transposed, pack);
        }

        return pack;
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        Value.Dispose();
        Gradient.Dispose();
        foreach (PackedMatrix pack in _packs.Values)
        {
            pack.Dispose();
        }
    }

    private Matrix AsMatrix(FloatBuffer buffer)
    {
        int rows = Shape.Count == 0 ? 1 : Shape[0];
        return Shape.Count == 1 ? buffer.Matrix(1, rows) : buffer.Matrix(rows, checked((int)(buffer.Length / Math.Max(rows, 1))));
    }
}
