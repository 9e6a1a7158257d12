using System.Globalization;
using Subquartic.Imaging;

namespace Subquartic.Training.Data;

/// <summary>Pictures to train an adapter on, with the labels of the model: class folders are found among the model's classes by name or number, others become new classes
/// after them. Pictures that the model drew itself can be mixed in, so that what it knows is kept (Shin et al., NeurIPS 2017, generative replay).</summary>
public sealed class AdapterDataset : IImageDataset
{
    private readonly IImageDataset _pictures;
    private readonly int[] _labels;
    private readonly IReadOnlyList<(int Label, RgbImage Image)> _replay;

    /// <summary>Finds the classes.</summary>
    /// <param name="pictures">The pictures.</param>
    /// <param name="classes">Classes of the model.</param>
    /// <param name="names">Their names, or null where they are not known.</param>
    /// <param name="replay">Drawn pictures of the model's classes, of the same size as the others.</param>
    /// <exception cref="ArgumentException">A drawn picture has another size.</exception>
    public AdapterDataset(IImageDataset pictures, int classes, IReadOnlyList<string>? names, IReadOnlyList<(int Label, RgbImage Image)> replay)
    {
        ArgumentNullException.ThrowIfNull(pictures);
        ArgumentNullException.ThrowIfNull(replay);
        if (replay.Any(drawn => (drawn.Image.Height, drawn.Image.Width) != (pictures.Height, pictures.Width)))
        {
            throw new ArgumentException("A drawn picture has another size than the others.", nameof(replay));
        }

        _pictures = pictures;
        _replay = replay;
        var all = new List<string>(names ?? [.. Enumerable.Range(0, classes).Select(i => i.ToString(CultureInfo.InvariantCulture))]);
        _labels = new int[pictures.Classes.Count];
        for (int i = 0; i < _labels.Length; i++)
        {
            string name = pictures.Classes[i];
            _labels[i] = all.FindIndex(known => known.Equals(name, StringComparison.OrdinalIgnoreCase));
            if (_labels[i] < 0 && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < classes)
            {
                _labels[i] = number;
            }

            if (_labels[i] < 0)
            {
                _labels[i] = all.Count;
                all.Add(name);
            }
        }

        Classes = all;
        NewClasses = [.. all.Skip(classes)];
    }

    /// <summary>Names of the classes that the model does not have.</summary>
    public IReadOnlyList<string> NewClasses { get; }

    /// <inheritdoc/>
    public long Count => _pictures.Count + _replay.Count;

    /// <inheritdoc/>
    public IReadOnlyList<string> Classes { get; }

    /// <inheritdoc/>
    public int Height => _pictures.Height;

    /// <inheritdoc/>
    public int Width => _pictures.Width;

    /// <inheritdoc/>
    public int Read(long index, Span<byte> rgb)
    {
        if (index < _pictures.Count || index >= Count)
        {
            return _labels[_pictures.Read(index, rgb)];
        }

        (int label, RgbImage image) = _replay[(int)(index - _pictures.Count)];
        image.Bytes.CopyTo(rgb);
        return label;
    }
}
